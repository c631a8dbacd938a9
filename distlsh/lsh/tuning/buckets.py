"""How many ids a bucket of the training tables must hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from distlsh.lsh.hasher import Hasher
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tuning.choose import Setting, best_of, in_order
from distlsh.lsh.tuning.costs import bucket_bytes
from distlsh.lsh.tuning.goal import Goal
from distlsh.lsh.tuning.measure import Hashed, Measured, measure, recalls
from distlsh.lsh.tuning.problem import Problem, some_of

Floats = NDArray[np.float32]

SIZES = tuple(1 << bits for bits in range(2, 13))
LOSS = 0.01
"""Recall that overflow may cost where no memory limit asks for more."""
_SAMPLE = 65_536
_ALIKE = 1.05
"""Costs of a query that count as the same: the smaller buckets win."""


def bucket_populations(problem: Problem, hashed: Hashed, seed: int) -> Floats:
    """Return f4[m, k, L], the rows in the bucket of each neighbour, itself included.

    Counted in all rows, or in 65,536 of them and scaled.
    """
    n = problem.n_rows
    rows = some_of(n, _SAMPLE, np.random.default_rng((seed, 0xB0C)))
    codes = problem.codes(Hasher(hashed.spec), rows)
    counted = np.isin(problem.neighbours, rows)
    scale = (n - 1) / max(1, len(rows) - 1)
    found = np.empty(hashed.neighbours.shape, np.float32)
    for table in range(hashed.spec.n_tables):
        sizes = np.bincount(codes[:, table], minlength=hashed.spec.n_buckets)
        others = sizes[hashed.neighbours[:, :, table]] - counted
        found[:, :, table] = 1 + np.maximum(others, 0) * scale
    return found


def with_overflow(hashed: Hashed, measured: Measured, populations: Floats, size: int) -> Measured:
    """Return ``measured`` as it is where buckets hold ``size`` ids: lower recall, the same candidates.

    The candidates become an upper bound.
    """
    kept = np.minimum(1, size / populations).astype(np.float32)
    recall, error = recalls(hashed.neighbour_ranks(), hashed.valid, hashed.n_ranks, kept)
    return replace(measured, recall=recall, error=error)


def bucket_size_of(problem: Problem, spec: HashSpec, seed: int) -> int:
    """Return the smallest bucket size whose overflow costs at most 0.01 of the recall of ``spec``."""
    hashed = Hashed.of(problem, spec)
    measured = measure(problem, hashed)
    populations = bucket_populations(problem, hashed, seed)
    for size in SIZES:
        lost = measured.recall - with_overflow(hashed, measured, populations, size).recall
        if lost[-1, -1] <= LOSS:
            return size
    return SIZES[-1]


def best_with_buckets(problem: Problem, spec: HashSpec, goal: Goal, seed: int) -> Setting:
    """Return the cheapest setting of ``spec``'s functions with buckets that meets ``goal``, or the nearest.

    spec  with the most tables and probes
    """
    hashed = Hashed.of(problem, spec)
    measured = measure(problem, hashed)
    populations = bucket_populations(problem, hashed, seed)
    settings = [_of_size(problem, hashed, measured, populations, goal, size) for size in SIZES]
    best = in_order(settings)[0]
    if not best.meets:
        return best
    return next(s for s in settings if s.meets and s.query_us <= _ALIKE * best.query_us)


def _of_size(
    problem: Problem, hashed: Hashed, measured: Measured, populations: Floats, goal: Goal, size: int
) -> Setting:
    def n_bytes(spec: HashSpec) -> int:
        return bucket_bytes(spec, problem.n_rows, size)

    limited = with_overflow(hashed, measured, populations, size)
    return replace(best_of(limited, goal, problem.n_rows, n_bytes, "buckets"), bucket_size=size)
