"""Fit the constants of the tuning's cost model: `python benchmarks/kernels/tuning_costs.py [--quick]`.

Prints the lines of distlsh/lsh/tuning/costs.py.  Queries are hashed in batches of 32 and searched for in
an `LSHIndex` on one thread; each time is the least of several, in CPU seconds of this thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import nnls

from distlsh.lsh import ActiveSampler, Hasher, Tables, build
from distlsh.lsh.index import LSHIndex
from distlsh.lsh.rows import SparseRows
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tuning.costs import FIXED_NS, hash_units

BATCH = 32


def nanoseconds(call: Callable[[], Any], n: int, repeats: int) -> float:
    """Return the least CPU time of a call over n queries, after one that is not counted."""
    call()
    best = float("inf")
    for _ in range(repeats):
        start = time.thread_time()
        call()
        best = min(best, time.thread_time() - start)
    return best * 1e9 / n


def shapes(family: str, n_dims: int) -> Iterator[HashSpec]:
    """Yield specs of a family over the ranges that tuning tries."""
    mixed = {"code_bits": 14}
    kinds: dict[str, list[dict[str, Any]]] = {
        "cross_polytope": [{"n_hashes": k, "dim": d} for k, d in ((1, 64), (2, 16), (2, 64), (3, 16))],
        "wta": [{"n_hashes": k, "bin_size": b} for k, b in ((3, 8), (5, 8), (4, 16))],
        "l2": [{"n_hashes": k, **mixed} for k in (4, 8, 16)],
        "minhash": [{"n_hashes": k, **mixed} for k in (1, 2, 4)],
    }
    kinds["dwta"], kinds["doph"] = kinds["wta"], kinds["minhash"]
    signs = [{"n_hashes": k} for k in (8, 12, 18)]
    for fields in kinds.get(family, signs):
        for n_tables in (4, 16, 48):
            for n_probes in (0,) if family in ("minhash", "doph") else (0, 4, 12):
                yield HashSpec(family=family, n_dims=n_dims, n_tables=n_tables, n_probes=n_probes, **fields)


def hashing(family: str, n_dims: int, repeats: int) -> list[float]:
    """Return nanoseconds a table, a unit and a probe of a table."""
    random = np.random.default_rng(0)
    rows: Any = random.standard_normal((8 * BATCH, n_dims)).astype(np.float32)
    batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
    if family in ("minhash", "doph"):
        from scipy.sparse import csr_array

        batches = [SparseRows.of(csr_array(np.where(each > 1.5, each, 0))) for each in batches]
    lines, times = [], []
    for spec in shapes(family, n_dims):
        hasher = Hasher(spec)
        measured = nanoseconds(lambda: [hasher.probes(some) for some in batches], len(rows), repeats)  # noqa: B023
        n = spec.n_tables
        lines.append([n, n * hash_units(spec), n * spec.n_probes])
        times.append(max(1.0, measured - FIXED_NS))
    return fitted(family, lines, times)


SHAPES = ((2, 16, 8), (2, 16, 32), (2, 64, 16), (2, 64, 48), (3, 16, 32), (1, 128, 8))
"""n_hashes, dim and n_tables of the cross-polytope tables that are read."""


def clustered(n_rows: int, n_dims: int) -> tuple[Any, Any]:
    """Return rows in clusters of about 50, and 512 queries near some of them."""
    random = np.random.default_rng(1)
    centers = random.standard_normal((n_rows // 50, n_dims))
    rows = centers[random.integers(0, len(centers), n_rows)] + random.standard_normal((n_rows, n_dims))
    near = rows[random.integers(0, n_rows, 512)] + 0.3 * random.standard_normal((512, n_dims))
    return rows.astype(np.float32), near.astype(np.float32)


def searching(n_rows: int, n_dims: int, repeats: int) -> tuple[list[list[float]], list[float]]:
    """Return buckets, ids read, candidates and their dimensions, and nanoseconds of a query of an index."""
    rows, queries = clustered(n_rows, n_dims)
    lines, times = [], []
    for n_hashes, dim, n_tables in SHAPES:
        index = LSHIndex(
            "cross_polytope", n_hashes, n_tables, 8, dim=dim, n_components=0, n_rerank=0, n_jobs=1
        ).fit(rows)
        for n_probes in (0, 2, 8):
            hasher = Hasher(replace(index.spec_, n_probes=n_probes))
            hashed = nanoseconds(lambda: hasher.probes(queries), 512, repeats)  # noqa: B023
            whole = nanoseconds(lambda: index.search(queries, 10, n_probes=n_probes), 512, repeats)  # noqa: B023
            found = index.candidates(queries, n_probes=n_probes).nnz / 512
            lines.append([n_tables * (1 + n_probes), reads(hasher, rows, queries), found, found * n_dims])
            times.append(whole - hashed)
    return lines, times


def collecting(n_rows: int, n_dims: int, repeats: int) -> tuple[list[list[float]], list[float]]:
    """Return the same of active sets in training: buckets and ids read, and nanoseconds of a sample."""
    rows, queries = clustered(n_rows, n_dims)
    lines, times = [], []
    for n_hashes, dim, n_tables in SHAPES:
        spec = HashSpec("cross_polytope", n_hashes, n_tables, 8, n_dims, dim)
        tables = Tables.create(spec, n_rows, 64)
        build(tables, Hasher(spec), rows)
        for n_probes in (0, 2, 8):
            hasher = Hasher(replace(spec, n_probes=n_probes))
            codes = [hasher.probes(queries[i : i + BATCH]) for i in range(0, 512, BATCH)]
            sampler = ActiveSampler(
                n_rows, 512, 0, n_tables=n_tables, n_codes=1 + n_probes, bucket_size=64, batch=BATCH
            )
            active, bounds = np.empty((BATCH, 512), np.int32), np.empty((BATCH, 3), np.int32)
            nothing = (np.zeros(BATCH + 1, np.int64), np.zeros(0, np.int32), np.arange(BATCH))

            def choose() -> None:
                for some in codes:  # noqa: B023
                    seeds = np.arange(BATCH, dtype=np.uint64)
                    sampler.select(tables, some, *nothing, seeds, active, bounds)  # noqa: B023

            lines.append([n_tables * (1 + n_probes), held(tables, codes), 1.0])
            times.append(nanoseconds(choose, 512, repeats))
    return lines, times


def held(tables: Tables, codes: list[Any]) -> float:
    """Return the ids in a query's buckets, those of several as often."""
    places = np.arange(tables.n_tables)[None, :, None]
    return float(sum(np.where(c >= 0, tables.sizes[places, c], 0).sum() for c in codes)) / 512


def fitted(name: str, lines: list[list[float]], times: list[float]) -> list[float]:
    """Return non-negative coefficients by least squares of relative errors; print how far off they are."""
    matrix = np.array(lines) / np.array(times)[:, None]
    found, _ = nnls(matrix, np.ones(len(times)))
    error = np.abs(matrix @ found - 1)
    print(f"# {name}: the fit is off by {np.median(error):.0%} in the median, {error.max():.0%} at most")
    return [float(x) for x in found]


def reads(hasher: Hasher, rows: Any, queries: Any) -> float:
    """Return the ids that a query's buckets hold, those of several as often."""
    codes, probes = hasher.codes(rows), hasher.probes(queries)
    total = 0
    for table in range(hasher.spec.n_tables):
        sizes = np.bincount(codes[:, table], minlength=hasher.spec.n_buckets)
        total += int(np.where(probes[:, table] >= 0, sizes[probes[:, table]], 0).sum())
    return total / len(queries)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dims", type=int, default=128, help="of the vectors (default: 128)")
    parser.add_argument("--rows", type=int, default=100_000, help="of the index (default: 100,000)")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, 30,000 rows")
    args = parser.parse_args()
    repeats, n_rows = (2, min(args.rows, 30_000)) if args.quick else (5, args.rows)
    for family in (
        "cross_polytope", "fast_srp", "srp", "sparse_srp", "wta", "dwta", "l2", "minhash", "doph",
    ):  # fmt: skip
        per_table, per_unit, per_probe = hashing(family, args.dims, repeats)
        print(f'    "{family}": HashCost({per_table:.1f}, {per_unit:.3f}, {per_probe:.1f}),')
    parts = [searching(n_rows, n_dims, repeats) for n_dims in (32, args.dims)]
    bucket, read, row, dim = fitted(
        f"index of {n_rows:,} rows", [line for p in parts for line in p[0]], [t for p in parts for t in p[1]]
    )
    print(f'    "packed": ReadCost({bucket:.1f}, {read:.2f}, {row:.1f}, {dim:.3f}),')
    bucket, read, _ = fitted(f"active sets of {n_rows:,} rows", *collecting(n_rows, args.dims, repeats))
    print(f'    "buckets": ReadCost({bucket:.1f}, {read:.2f}, ...),')


if __name__ == "__main__":
    main()
