"""Compare sketches of rows on one core: `python benchmarks/kernels/sketch.py [--help]`.

For 1 to 4 bits a coordinate, and for whole bytes with float32 products as the bound: the time to estimate
one inner product, and of the ids that a query retrieves, the share of the truly best that are
among those kept by the estimate.  CPU seconds of this thread, the least of several runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np

from distlsh.kernels.prefetch import prefetch
from distlsh.lsh import Hasher, HashSpec, Sketcher, Tables, build, mean_row, retrieve
from distlsh.lsh.sketch import sketch_spec

Estimate = Callable[[int, np.ndarray], np.ndarray]
AHEAD = 12


@numba.njit(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def byte_products(rows, factors, query, ids, out):  # type: ignore[no-untyped-def]
    """Inner products of rows i1[n, d] with a query i1[d], times each row's factor."""
    width = rows.shape[1]
    for i in range(len(ids)):
        if i + AHEAD < len(ids):
            for j in range(0, width, 64):
                prefetch(rows, np.int64(ids[i + AHEAD]) * width + j)
            prefetch(factors, np.int64(ids[i + AHEAD]))
        row, total = rows[ids[i]], np.int32(0)
        for j in range(width):
            total = np.int32(total + np.int32(np.int32(row[j]) * np.int32(query[j])))
        out[i] = np.float32(total) * factors[ids[i]]


@numba.njit(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def float_products(rows, query, ids, out):  # type: ignore[no-untyped-def]
    """Inner products of rows f4[n, d] with a query f4[d]."""
    width = rows.shape[1]
    for i in range(len(ids)):
        if i + AHEAD < len(ids):
            for j in range(0, width, 16):
                prefetch(rows, np.int64(ids[i + AHEAD]) * width + j)
        row, total = rows[ids[i]], np.float32(0)
        for j in range(width):
            total += row[j] * query[j]
        out[i] = total


def ways(rows: np.ndarray, queries: np.ndarray) -> dict[str, tuple[Estimate, int]]:
    """Return each way to estimate, and its bytes a row; ``rows`` are less their center."""
    found: dict[str, tuple[Estimate, int]] = {}
    ids = np.arange(len(rows), dtype=np.int32)
    for bits in (1, 2, 3, 4):
        spec = sketch_spec(len(rows), rows.shape[1], bits)
        sketcher, sketch = Sketcher(rows.shape[1], 1, bits), np.zeros(spec.shape, np.uint64)
        sketcher.rows(rows, ids, None, sketch)
        made = sketcher.queries(queries)
        estimate = lambda i, ids, s=sketcher, k=sketch, q=made: s.estimate(k, q, i, ids)  # noqa: E731
        found[f"{bits} bit"] = estimate, sketch.shape[1] * 8
    factors = (np.abs(rows).max(axis=1) / 127).astype(np.float32)
    levels = np.round(rows / factors[:, None]).astype(np.int8)
    steps = np.round(queries / np.abs(queries).max(axis=1, keepdims=True) * 127).astype(np.int8)
    out = np.empty(len(rows), np.float32)

    def by_bytes(i: int, ids: np.ndarray) -> np.ndarray:
        byte_products(levels, factors, steps[i], ids, out)
        return out[: len(ids)]

    def by_floats(i: int, ids: np.ndarray) -> np.ndarray:
        float_products(rows, queries[i], ids, out)
        return out[: len(ids)]

    found["8 bit"] = by_bytes, rows.shape[1] + 4
    found["float32"] = by_floats, rows.shape[1] * 4
    return found


def candidates(rows: np.ndarray, queries: np.ndarray) -> list[np.ndarray]:
    """Return the ids that tables retrieve for each query."""
    width = rows.shape[1]
    spec = HashSpec("cross_polytope", 2, 40, 4, width, dim=min(64, 1 << (width - 1).bit_length()))
    tables = Tables.create(spec, len(rows))
    build(tables, Hasher(spec), rows)
    ids, found = retrieve(tables, Hasher(spec).probes(queries))
    return [ids[i, :n].copy() for i, n in enumerate(found)]


def quality(
    estimate: Estimate, rows: np.ndarray, queries: np.ndarray, ids: list[np.ndarray], keep: int
) -> list[float]:
    """Return the shares of the best 1, 10, 100 and ``keep`` candidates among the ``keep`` estimated best."""
    shares = []
    for i, some in enumerate(ids):
        best = np.argsort(-(rows[some] @ queries[i]))
        kept = np.argsort(-estimate(i, some))[:keep]
        shares.append([np.isin(best[:k], kept).mean() for k in (1, 10, 100, keep)])
    return [float(share) for share in np.mean(shares, axis=0)]


def main() -> None:
    """Read rows and queries or make them, and print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=220_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--data", type=Path, help="a .npz file with W f4[n, d] and H f4[m, d] instead")
    parser.add_argument("--keep", type=int, default=512)
    given = parser.parse_args()
    random = np.random.default_rng(0)
    if given.data:
        data = np.load(given.data)
        rows, queries = data["W"].astype(np.float32), data["H"][:300].astype(np.float32)
    else:
        centers = random.standard_normal((given.rows // 50, given.width), np.float32)
        rows = centers[random.integers(0, len(centers), given.rows)]
        rows = rows + random.standard_normal(rows.shape, np.float32)
        queries = rows[random.integers(0, given.rows, 300)]
        queries = queries + random.standard_normal(queries.shape, np.float32)
    rows = np.ascontiguousarray(rows - mean_row(rows))
    ids = candidates(rows, queries)
    n_ids = sum(map(len, ids))
    print(
        f"{len(rows):,} rows of {rows.shape[1]}; {n_ids / len(ids):.0f} ids retrieved, best {given.keep} kept"
    )
    for name, (estimate, n_bytes) in ways(rows, queries).items():
        times = []
        for _ in range(4):
            start = time.thread_time()
            for i, some in enumerate(ids):
                estimate(i, some)
            times.append(time.thread_time() - start)
        shares = quality(estimate, rows, queries, ids, given.keep)
        print(
            f"{name:>8}: {n_bytes:5} bytes a row, {min(times) / n_ids * 1e9:6.1f} ns an estimate; kept of "
            f"the best 1, 10, 100, {given.keep}: " + ", ".join(f"{share:.3f}" for share in shares)
        )


if __name__ == "__main__":
    main()
