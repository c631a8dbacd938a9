"""Time hashing, tables and active sets on one core: `python benchmarks/kernels/lsh.py [--help]`.

CPU seconds of this thread, so that other work on the machine disturbs little; the best of
several runs, kernels compiled before.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from distlsh.constants import EMPTY
from distlsh.kernels.random import sample_seeds
from distlsh.lsh import (
    ActiveSampler,
    Hasher,
    HashSpec,
    Tables,
    build,
    mean_row,
    refresh,
    retrieve,
    table_specs,
)
from distlsh.lsh.families import FAMILIES, describe
from distlsh.lsh.rows import Rows, SparseRows, block
from distlsh.lsh.rows import n_rows as n_rows_of

SETTINGS: dict[str, dict[str, Any]] = {
    "cross_polytope K2 L40 dim 64": dict(family="cross_polytope", n_hashes=2, n_tables=40, dim=64),
    "cross_polytope K2 L40 dim 256": dict(family="cross_polytope", n_hashes=2, n_tables=40, dim=256),
    "srp K12 L40": dict(family="srp", n_hashes=12, n_tables=40),
    "fast_srp K12 L40": dict(family="fast_srp", n_hashes=12, n_tables=40),
    "sparse_srp K12 L40, density 1/3": dict(family="sparse_srp", n_hashes=12, n_tables=40),
    "sparse_srp K12 L40, density 1/30": dict(family="sparse_srp", n_hashes=12, n_tables=40, density=1 / 30),
    "l2 K8 L40": dict(family="l2", n_hashes=8, n_tables=40),
    "wta K4 L50 bins of 8": dict(family="wta", n_hashes=4, n_tables=50),
    "dwta K4 L50 bins of 8": dict(family="dwta", n_hashes=4, n_tables=50),
    "minhash K4 L50": dict(family="minhash", n_hashes=4, n_tables=50),
    "doph K4 L50": dict(family="doph", n_hashes=4, n_tables=50),
}
N_PROBES = 4


def spec_of(name: str, width: int, **changes: Any) -> HashSpec:
    """Return a setting's spec, with probes where the family has any."""
    probes = N_PROBES if describe(SETTINGS[name]["family"]).probes else 0
    return HashSpec(**{"n_dims": width, "n_probes": probes, **SETTINGS[name], **changes})


def seconds(call: Callable[[], Any], repeats: int = 3) -> float:
    """Return the least CPU time of a call."""
    best = float("inf")
    for _ in range(repeats):
        start = time.thread_time()
        call()
        best = min(best, time.thread_time() - start)
    return best


def hashing(name: str, n_rows: int, width: int, n_timed: int) -> None:
    """Print rows and queries a second of one setting, on dense rows."""
    spec = spec_of(name, width)
    rows = np.random.default_rng(0).standard_normal((n_timed, width), np.float32)
    if not describe(spec.family).center:
        rows = np.where(rows > 1, rows, np.float32(0))  # sets of a sixth of the dimensions
    of_rows, of_queries = timed(spec, rows, rows[:2048])
    print(
        f"{name}: hash {1 / of_rows:,.0f} rows/s ({n_rows:,} in {n_rows * of_rows:.2f} s), "
        f"{spec.n_probes} probes {of_queries * 1e6:.1f} us a query in batches of 32"
    )
    alone(name, rows[:256])


def hashing_sparse(name: str, n_features: int, n_nonzeros: int, n_timed: int) -> None:
    """Print the time of one setting on sparse rows."""
    random = np.random.default_rng(0)
    X = sparse.random_array(
        (n_timed, n_features), density=n_nonzeros / n_features, format="csr", dtype=np.float32, rng=random
    )
    rows = SparseRows.of(X)
    of_rows, of_queries = timed(spec_of(name, n_features), rows, rows.block(0, 256))
    print(
        f"{name}: hash {of_rows * 1e6:.1f} us a row, probes {of_queries * 1e6:.1f} us a query "
        f"({n_nonzeros} of {n_features:,} features)"
    )
    alone(name, rows.block(0, 16))


def timed(spec: HashSpec, rows: Rows, queries: Rows) -> tuple[float, float]:
    """Return the seconds of a row's codes, and of a query's probes in batches of 32."""
    hasher = Hasher(spec)
    codes = np.empty((n_rows_of(rows), spec.n_tables), np.int32)
    probes = np.empty((32, spec.n_tables, spec.n_codes), np.int32)
    n_queries = n_rows_of(queries)
    batches = [block(queries, first, first + 32) for first in range(0, n_queries, 32)]
    hasher.codes(block(rows, 0, 16), codes[:16])  # what is made on first use
    of_rows = seconds(lambda: hasher.codes(rows, codes)) / len(codes)
    return of_rows, seconds(lambda: [hasher.probes(batch, probes) for batch in batches]) / n_queries


def alone(name: str, queries: Rows) -> None:
    """Print the time of one and of two queries a call: by kernels for single ones, and in a block of 16."""
    sparse_rows = isinstance(queries, SparseRows)
    spec = spec_of(name, queries.n_dims if isinstance(queries, SparseRows) else queries.shape[1])
    hashers = Hasher(spec), Hasher(spec, one_by_one=False)
    found = []
    for m in (1, 2):
        some = [block(queries, first, first + m) for first in range(0, n_rows_of(queries), m)]
        (codes, probes), (codes_16, probes_16) = alternating(hashers, some)
        found.append(
            f"codes {codes:.1f} us (in a block {codes_16:.1f}), probes {probes:.1f} ({probes_16:.1f})"
        )
    print(f"  {'sparse' if sparse_rows else 'dense'}, one a call: {found[0]}; two a call: {found[1]}")


def alternating(hashers: tuple[Hasher, ...], some: list[Rows]) -> list[list[float]]:
    """Return, for each hasher, the microseconds of a call of its codes and of its probes."""
    m, spec = n_rows_of(some[0]), hashers[0].spec
    codes = np.empty((m, spec.n_tables), np.int32)
    probes = np.empty((m, spec.n_tables, spec.n_codes), np.int32)
    best = [[float("inf")] * 2 for _ in hashers]
    for hasher in hashers:  # what is made on first use
        hasher.codes(some[0], codes)
    for _ in range(6):
        for side, hasher in enumerate(hashers):
            for what, (call, out) in enumerate(((hasher.codes, codes), (hasher.probes, probes))):
                start = time.thread_time()
                for rows in some:
                    call(rows, out)
                best[side][what] = min(best[side][what], (time.thread_time() - start) / len(some) * 1e6)
    return best


def maintaining(n_rows: int, width: int, bucket_size: int) -> None:
    """Print the costs of building, refreshing and reading the tables."""
    spec = spec_of("cross_polytope K2 L40 dim 64", width)
    random = np.random.default_rng(0)
    weights = random.standard_normal((n_rows, 64), np.float32) @ random.standard_normal(
        (64, width), np.float32
    )
    arrays = {item.name: np.zeros(item.shape, item.dtype) for item in table_specs(spec, n_rows, bucket_size)}
    hasher, sizes = Hasher(spec), f"{n_rows:,} x {spec.n_tables} codes"
    arrays["tables.center"][:] = mean_row(weights)
    ids = np.arange(n_rows, dtype=np.int32)
    norms = np.linalg.norm(weights, axis=1)
    for policy in ("fifo", "reservoir", "bottom_k"):
        arrays["tables.weights"] = np.zeros(n_rows, np.float32)
        tables = Tables(arrays, 0, policy)
        build(tables, hasher, weights)

        def insert(tables: Tables = tables) -> None:
            tables.clear()
            tables.insert(ids, tables.codes, norms)

        took = seconds(insert)
        print(
            f"{policy} insert: {n_rows * spec.n_tables / took / 1e6:.1f} M a second ({sizes} in {took:.2f} s)"
        )
    current, idle = Tables(arrays, 0), Tables(arrays, 1)
    whole = seconds(lambda: build(current, hasher, weights), 2)
    print(f"build, hashing included: {whole:.2f} s")
    print(f"copy of a whole buffer: {seconds(lambda: idle.copy_from(current), 1):.3f} s")
    refreshing(current, idle, hasher, weights, whole)
    reading(current, hasher, weights)


def refreshing(current: Tables, idle: Tables, hasher: Hasher, weights: np.ndarray, whole: float) -> None:
    """Print what refreshes of few rows cost beside a build of ``whole`` seconds: copying, hashing, moving."""
    random = np.random.default_rng(2)
    n_rows, width = weights.shape
    for share, noise in ((0.05, 0.3), (0.05, 0.05), (0.01, 0.1), (0.001, 0.1)):
        took, moved, n_some = [], 0, int(n_rows * share)
        for _ in range(3):
            some = np.sort(random.choice(n_rows, n_some, replace=False)).astype(np.int32)
            weights[some] += noise * random.standard_normal((n_some, width), np.float32) * weights.std()
            start = time.thread_time()
            idle.copy_from(current)
            moved = refresh(idle, hasher, weights, some)
            took.append(time.thread_time() - start)
            current, idle = idle, current
        print(
            f"refresh of {share:.1%} of the rows, {moved / (n_some * idle.n_tables):.0%} of their codes "
            f"moved: {min(took):.3f} s, 1/{whole / min(took):.0f} of a build"
        )


def reading(tables: Tables, hasher: Hasher, weights: np.ndarray) -> None:
    """Print the costs of choosing active sets and of retrieving."""
    random = np.random.default_rng(1)
    n, m = 2048, 32
    queries = weights[random.integers(0, len(weights), n)]
    queries = queries + 0.5 * weights.std() * random.standard_normal(queries.shape, np.float32)
    sampler = ActiveSampler(
        len(weights), 512, 0,
        n_tables=tables.n_tables, n_codes=hasher.spec.n_codes, bucket_size=tables.bucket_size, batch=m,
    )  # fmt: skip
    indptr, labels = np.arange(len(weights) + 1), np.arange(len(weights), dtype=np.int32)
    rows, seeds = random.integers(0, len(weights), n), np.empty(n, np.uint64)
    sample_seeds(np.uint64(1), np.uint64(0), seeds)
    active, bounds = np.empty((m, 512), np.int32), np.empty((m, 3), np.int32)
    for n_probes in range(hasher.spec.n_probes + 1):
        probes = hasher.probes(queries)
        probes[:, :, 1 + n_probes :] = EMPTY

        def select(probes: np.ndarray = probes) -> None:
            for i in range(0, n, m):
                at = slice(i, i + m)
                sampler.select(tables, probes[at], indptr, labels, rows[at], seeds[at], active, bounds)

        took, read = (
            seconds(select) / n * 1e6,
            seconds(lambda probes=probes: retrieve(tables, probes)) / n * 1e6,
        )
        hits = tables.sizes[np.arange(tables.n_tables)[:, None], probes[:, :, : 1 + n_probes]].sum() / n
        print(
            f"{tables.n_tables * (1 + n_probes)} buckets, {hits:.0f} hits a query: "
            f"select {took:.1f} us a sample, retrieve {read:.1f} us"
        )


def main() -> None:
    """Read the sizes and print every timing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=220_084, help="of the tables and the seconds given")
    parser.add_argument("--width", type=int, default=1024, help="of dense rows")
    parser.add_argument("--features", type=int, default=100_000, help="of sparse rows; 0: leave them out")
    parser.add_argument("--nonzeros", type=int, default=80, help="of a sparse row")
    parser.add_argument("--bucket-size", type=int, default=64)
    parser.add_argument("--family", action="append", choices=FAMILIES, help="its hashes alone; repeatable")
    parser.add_argument("--quick", action="store_true", help="fewer rows, and no tables")
    arguments = parser.parse_args()
    n_timed = 2048 if arguments.quick else 8192
    chosen = [name for name in SETTINGS if SETTINGS[name]["family"] in (arguments.family or FAMILIES)]
    for name in chosen:
        hashing(name, arguments.rows, arguments.width, n_timed)
    for name in chosen if arguments.features else []:
        hashing_sparse(name, arguments.features, arguments.nonzeros, n_timed // 4)
    if not (arguments.quick or arguments.family):
        maintaining(arguments.rows, arguments.width, arguments.bucket_size)


if __name__ == "__main__":
    main()
