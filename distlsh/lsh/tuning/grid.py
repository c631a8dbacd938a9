"""Which hash functions are tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from distlsh.constants import EMPTY, TUNED_PROBES, TUNED_TABLES
from distlsh.errors import ConfigError, UsageError
from distlsh.lsh.families import FAMILIES, describe
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tuning.problem import Problem, check_metric
from distlsh.lsh.tuning.similarity import similarities

MAX_TABLES, MAX_PROBES = TUNED_TABLES, TUNED_PROBES
_FEWER, _MORE = 9, 3
"""Buckets tried: from 2**9 times fewer than rows to 2**3 times more."""
_MOST_BITS = 22

_USUAL = ("cross_polytope", "fast_srp", "dwta", "l2", "minhash", "doph")
"""Tried unless others are named: srp, sparse_srp and wta collide as fast_srp and dwta do, and cost more."""

Shapes = Iterator[tuple[dict[str, Any], int]]


def limits(max_tables: int | None, max_probes: int | None) -> dict[str, int]:
    """Return what `candidates` takes as limits, None: the usual; UsageError for what cannot be tried."""
    for name, value, least in (("max_tables", max_tables, 1), ("max_probes", max_probes, 0)):
        if value is not None and value < least:
            raise UsageError(f"{name} is {value}; it must be {least} or more")
    return {
        "max_tables": MAX_TABLES if max_tables is None else max_tables,
        "max_probes": MAX_PROBES if max_probes is None else max_probes,
    }


def families_of(metric: str, families: Sequence[str] | None) -> tuple[str, ...]:
    """Return the families to try for a metric; UsageError for one that it does not fit."""
    check_metric(metric)
    fitting = [family for family in FAMILIES if metric in describe(family).metrics]
    if families is None:
        return tuple(family for family in fitting if family in _USUAL)
    for family in families:
        if family not in FAMILIES:
            raise UsageError(f"family {family!r} is unknown; use some of {', '.join(FAMILIES)}")
        if family not in fitting:
            raise UsageError(
                f"family {family!r} does not hash for metric {metric!r}; use some of {', '.join(fitting)}"
            )
    return tuple(dict.fromkeys(families))


def transforms_of(family: str, metric: str) -> tuple[str, ...]:
    """Return the transforms under which a family is tried for a metric."""
    if metric != "dot":
        return ("none",)
    return ("l2_alsh",) if family == "l2" else ("none", "simple")


def candidates(
    problem: Problem,
    families: Sequence[str],
    *,
    max_tables: int = MAX_TABLES,
    max_probes: int = MAX_PROBES,
    seed: int = 1,
    fixed: dict[str, Any] | None = None,
) -> list[HashSpec]:
    """Return specs with the most tables and probes to measure, each of which stands for all fewer.

    fixed  other fields of `HashSpec`, the same in all of them
    """
    low = max(1.0, math.log2(problem.n_rows) - _FEWER)
    high = min(_MOST_BITS, math.log2(problem.n_rows) + _MORE)
    given = {"n_dims": problem.n_dims, "n_tables": max_tables, "seed": seed, **(fixed or {})}
    found: list[HashSpec] = []
    for family in families:
        for fields, bits in _SHAPES[family](problem):
            if low <= bits <= high:
                found += _spec({**given, "family": family, **fields}, max_probes)
    return found


def _spec(fields: dict[str, Any], max_probes: int) -> Iterator[HashSpec]:
    n_probes = max_probes if describe(fields["family"]).probes else 0
    while n_probes >= 0:
        try:
            yield HashSpec(n_probes=n_probes, **fields)
            return
        except ConfigError:  # a table of few buckets has few probes
            n_probes -= 1


def _cross_polytope(problem: Problem) -> Shapes:
    widest = max(8, 1 << (problem.n_dims - 1).bit_length())
    for dim_bits in range(3, 10):
        if 1 << dim_bits <= widest:
            for n_hashes in range(1, 5):
                yield {"n_hashes": n_hashes, "dim": 1 << dim_bits}, n_hashes * (dim_bits + 1)


def _signs(problem: Problem) -> Shapes:
    for n_hashes in range(2, 25, 2):
        yield {"n_hashes": n_hashes}, n_hashes


def _winners(problem: Problem) -> Shapes:
    for bits in (3, 4):
        if 1 << bits <= problem.n_dims:
            for n_hashes in range(1, 9):
                yield {"n_hashes": n_hashes, "bin_size": 1 << bits}, n_hashes * bits


def _slots(problem: Problem) -> Shapes:
    unit = 1.0  # transformed for inner products, vectors have about unit length
    if problem.metric != "dot":
        valid = problem.neighbours[:, 0] != EMPTY
        unit = float(similarities(problem, problem.queries, problem.neighbours)[1][valid].mean()) or 1.0
    bits = _mixed_bits(problem)
    for factor in (1.0, 2.0, 4.0):
        for n_hashes in (2, 4, 6, 8, 12, 16):
            yield {"n_hashes": n_hashes, "l2_width": round(factor * unit, 4), "code_bits": bits}, bits


def _sets(problem: Problem) -> Shapes:
    bits = _mixed_bits(problem)
    for n_hashes in range(1, 7):
        yield {"n_hashes": n_hashes, "code_bits": bits}, bits


def _mixed_bits(problem: Problem) -> int:
    """Return the bits of a table with a bucket a row: more would be empty, fewer would mix more."""
    return max(8, min(_MOST_BITS, math.ceil(math.log2(problem.n_rows))))


_SHAPES: dict[str, Callable[[Problem], Shapes]] = {
    "cross_polytope": _cross_polytope,
    "srp": _signs,
    "fast_srp": _signs,
    "sparse_srp": _signs,
    "wta": _winners,
    "dwta": _winners,
    "l2": _slots,
    "minhash": _sets,
    "doph": _sets,
}
