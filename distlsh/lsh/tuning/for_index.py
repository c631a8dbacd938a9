"""Tuning of `LSHIndex`: on what an index hashes, which may be principal components of its vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distlsh.lsh.index import LSHIndex, inputs, settings
from distlsh.lsh.index.encoder import Encoder
from distlsh.lsh.index.fitting import fit_encoder, stored_rows
from distlsh.lsh.index.metrics import normalised
from distlsh.lsh.rows import Rows, block, n_rows
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tuning.choose import in_order
from distlsh.lsh.tuning.goal import Goal
from distlsh.lsh.tuning.grid import candidates, limits
from distlsh.lsh.tuning.neighbours import Long, exact_neighbours
from distlsh.lsh.tuning.problem import Problem, check_enough, some_of, take, width
from distlsh.lsh.tuning.result import Tuning
from distlsh.lsh.tuning.tune import Progress, solve

_BLOCK = 8192
_BACKGROUND = 8192
_USUAL = {"jaccard": ("minhash", "doph")}
_USUAL_ELSE = ("cross_polytope", "fast_srp")
_SEEN = {"l2": "euclidean", "minhash": "jaccard", "doph": "jaccard"}
"""What a family's hashes see of vectors; others see angles."""


@dataclass(frozen=True)
class IndexTuning:
    """A tuning, and what of it an index takes.

    params      of `LSHIndex`
    queries     that were measured, as given
    own         i8[m], their ids where they are rows of the index, or None
    neighbours  i8[m, k], exact
    """

    tuning: Tuning
    params: dict[str, Any]
    queries: Rows
    own: Long | None
    neighbours: Long


def tune_index(
    X: Any,
    queries: Any = None,
    *,
    metric: str = "cosine",
    target_recall: float = 0.9,
    k: int = 10,
    max_candidates: float | None = None,
    max_bytes: int | None = None,
    families: Sequence[str] | None = None,
    max_tables: int | None = None,
    max_probes: int | None = None,
    sample: int = 512,
    seed: int = 1,
    progress: Progress | None = None,
) -> IndexTuning:
    """Choose the parameters of an `LSHIndex` over ``X``; arguments as of `distlsh.lsh.tuning.tune`.

    max_bytes  of the tables; the vectors and their sketches come to that

    Raises UsageError, ConfigError or ShapeError for arguments that do not fit.
    """
    goal = Goal(target_recall, k, max_candidates, max_bytes)
    most = limits(max_tables, max_probes)
    settings.check_metric(metric)
    chosen = [settings.choose_family(f, metric) for f in families or _USUAL.get(metric, _USUAL_ELSE)]
    rows = inputs.as_rows(X, "X", sets=metric == "jaccard")
    check_enough(n_rows(rows), k, "X", held_out=queries is None)
    asked = _queries(rows, queries, metric, sample, seed)
    rows = stored_rows(rows, metric)
    excluded = None if asked.own is None else [np.array([i]) for i in asked.own]
    near = exact_neighbours(rows, asked.rows, metric, k, excluded=excluded)
    parts = [
        _tuned(rows, asked.rows, near, goal, metric, f, most, seed, progress) for f in dict.fromkeys(chosen)
    ]
    tuning = _together(parts, width(rows))
    return IndexTuning(tuning, _params(tuning.best.spec, metric, seed), asked.rows, asked.own, near)


@dataclass(frozen=True)
class _Asked:
    rows: Rows
    own: Long | None


def _queries(rows: Rows, queries: Any, metric: str, sample: int, seed: int) -> _Asked:
    generator = np.random.default_rng((seed, 0x1D8))
    if queries is None:
        own = some_of(n_rows(rows), sample, generator)
        return _Asked(take(rows, own), own)
    given = inputs.as_rows(queries, "queries", width(rows), sets=metric == "jaccard")
    return _Asked(take(given, some_of(n_rows(given), sample, generator)), None)


def _tuned(
    rows: Rows, queries: Rows, near: Long, goal: Goal, metric: str, family: str,
    most: dict[str, int], seed: int, progress: Progress | None,
) -> Tuning:  # fmt: skip
    encoder = fit_encoder(rows, {**LSHIndex().get_params(), "family": family, "metric": metric, "seed": seed})
    asked = normalised(queries) if metric == "cosine" else queries
    problem = Problem(
        rows=_hashed(encoder, rows, queries=False),
        queries=_hashed(encoder, asked, queries=True),
        metric=_SEEN.get(family, "cosine"),
        neighbours=near,
        background=some_of(n_rows(rows), _BACKGROUND, np.random.default_rng((seed, 0xBAC))),
        center=encoder.center,
        query_center=encoder.query_center,
        max_norm=encoder.max_norm or None,
    )
    specs = candidates(problem, [family], seed=seed, fixed={"transform": encoder.spec.transform}, **most)
    return solve(problem, goal, specs, seed=seed, progress=progress, sized=False)


def _hashed(encoder: Encoder, rows: Rows, *, queries: bool) -> Rows:
    """Return the components that are hashed, or the vectors themselves."""
    if encoder.projection is None:
        return rows
    out = np.empty((n_rows(rows), encoder.spec.n_dims), np.float32)
    for first in range(0, len(out), _BLOCK):
        some = block(rows, first, min(first + _BLOCK, len(out)))
        found = encoder.query_components(some) if queries else encoder.components(some)
        assert found is not None
        out[first : first + _BLOCK] = found[:, : out.shape[1]]
    return out


def _together(parts: Sequence[Tuning], n_dims: int) -> Tuning:
    return replace(
        parts[0],
        n_dims=n_dims,
        best=in_order([part.best for part in parts])[0],
        table=in_order([row for part in parts for row in part.table]),
        measured=[each for part in parts for each in part.measured],
        curves=[each for part in parts for each in part.curves],
    )


def _params(spec: HashSpec, metric: str, seed: int) -> dict[str, Any]:
    names = ["family", "n_hashes", "n_tables", "n_probes", "dim"]
    names += {"wta": ["bin_size"], "dwta": ["bin_size"]}.get(spec.family, [])
    names += {"l2": ["l2_width", "code_bits"], "minhash": ["code_bits"], "doph": ["code_bits"]}.get(
        spec.family, []
    )
    return {**{name: getattr(spec, name) for name in names}, "metric": metric, "seed": seed}


def tuned_index(found: IndexTuning, X: Any, n_jobs: int | None) -> LSHIndex:
    """Return an index of ``X`` with the parameters found, re-ranking as few candidates as keep its recall."""
    index = LSHIndex(**found.params, n_jobs=n_jobs).fit(X)
    goal = found.tuning.goal
    reached = _recall(index, found, 0)
    for factor in (4, 8, 16, 32):
        if _recall(index, found, factor * goal.k) >= min(reached - 0.005, max(goal.recall, reached - 0.02)):
            index.n_rerank = factor * goal.k
            return index
    index.n_rerank = 0
    return index


def _recall(index: LSHIndex, found: IndexTuning, n_rerank: int) -> float:
    own = 0 if found.own is None else 1
    queries: Any = found.queries
    if not isinstance(queries, np.ndarray):
        from distlsh.lsh.tuning.neighbours import as_csr

        queries = as_csr(queries, binary=False)
    ids, _ = index.search(queries, found.neighbours.shape[1] + own, n_rerank=n_rerank)
    hits = (ids[:, None, :] == found.neighbours[:, :, None]).any(axis=2)
    return float(hits[found.neighbours >= 0].mean())
