"""Which hash functions are tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from distlsh.errors import ConfigError, UsageError
from distlsh.lsh.spec import FAMILIES, HashSpec
from distlsh.lsh.tuning.problem import Problem, check_metric

MAX_TABLES = 64
MAX_PROBES = 16
_FEWER, _MORE = 9, 3
"""Buckets tried: from 2**9 times fewer than rows to 2**3 times more."""
_MOST_BITS = 22

_BY_METRIC = {
    "cosine": ("cross_polytope", "srp", "dwta"),
    "dot": ("cross_polytope", "srp", "dwta"),
    "euclidean": ("cross_polytope",),
    "jaccard": (),
}


def families_of(metric: str, families: Sequence[str] | None) -> tuple[str, ...]:
    """Return the families to try for a metric; UsageError for one that it does not fit."""
    check_metric(metric)
    fitting = _BY_METRIC[metric]
    if families is None:
        return fitting
    for family in families:
        if family not in FAMILIES:
            raise UsageError(f"family {family!r} is unknown; use some of {', '.join(FAMILIES)}")
        if family not in fitting:
            raise UsageError(
                f"family {family!r} does not hash for metric {metric!r}; use some of {', '.join(fitting)}"
            )
    return tuple(dict.fromkeys(families))


def candidates(
    problem: Problem, families: Sequence[str], *, max_tables: int, max_probes: int, seed: int
) -> list[HashSpec]:
    """Return specs with the most tables and probes to measure, each of which stands for all fewer."""
    low = max(1.0, math.log2(problem.n_rows) - _FEWER)
    high = min(_MOST_BITS, math.log2(problem.n_rows) + _MORE)
    found: list[HashSpec] = []
    for family in families:
        for fields, bits in _SHAPES[family](problem.n_dims):
            if low <= bits <= high:
                found += _spec(problem.n_dims, family, max_tables, max_probes, seed, fields)
    return found


def _spec(
    n_dims: int, family: str, max_tables: int, max_probes: int, seed: int, fields: dict[str, int]
) -> Iterator[HashSpec]:
    spec = HashSpec(family=family, n_tables=max_tables, n_probes=0, n_dims=n_dims, seed=seed, **fields)
    for n_probes in range(max_probes, -1, -1):
        try:
            yield replace(spec, n_probes=n_probes)
            return
        except ConfigError:  # a table of few buckets has few probes
            continue


def _cross_polytope(n_dims: int) -> Iterator[tuple[dict[str, int], int]]:
    widest = max(8, 1 << (n_dims - 1).bit_length())
    for dim_bits in range(3, 10):
        if 1 << dim_bits <= widest:
            for n_hashes in range(1, 5):
                yield {"n_hashes": n_hashes, "dim": 1 << dim_bits}, n_hashes * (dim_bits + 1)


def _signs(n_dims: int) -> Iterator[tuple[dict[str, int], int]]:
    for n_hashes in range(2, 25, 2):
        yield {"n_hashes": n_hashes}, n_hashes


def _winners(n_dims: int) -> Iterator[tuple[dict[str, int], int]]:
    for bits in (3, 4):
        if 1 << bits <= n_dims:
            for n_hashes in range(1, 9):
                yield {"n_hashes": n_hashes, "bin_size": 1 << bits}, n_hashes * bits


_SHAPES = {"cross_polytope": _cross_polytope, "srp": _signs, "dwta": _winners}
