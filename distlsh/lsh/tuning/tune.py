"""The whole of a tuning: from vectors and a goal to a `Tuning`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from distlsh.errors import UsageError
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tuning.buckets import best_with_buckets, bucket_size_of
from distlsh.lsh.tuning.choose import MARGIN, Setting, best_of, in_order
from distlsh.lsh.tuning.costs import Storage, bucket_bytes, packed_bytes
from distlsh.lsh.tuning.curves import CollisionCurve, collision_curve, one_hash
from distlsh.lsh.tuning.goal import Goal
from distlsh.lsh.tuning.grid import candidates, families_of, limits, transforms_of
from distlsh.lsh.tuning.measure import Hashed, Measured, measure
from distlsh.lsh.tuning.problem import Problem, pose
from distlsh.lsh.tuning.result import Tuning

Progress = Callable[[int, int], None]

_FINISHED = 4
"""Kinds of hash functions whose overflow is measured at most, cheapest first."""


def tune(
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
    storage: Storage = "packed",
    progress: Progress | None = None,
) -> Tuning:
    """Choose hash functions for the rows of ``X`` by measuring on a sample of the data.

    X               rows to index, dense or SciPy sparse [n, n_dims]
    queries         what will be asked [m, n_dims]; None: rows of X, each without itself
    metric          "cosine", "dot", "euclidean" or "jaccard"
    target_recall   share of the k exact neighbours that the buckets of a query shall hold, in (0, 1)
    max_candidates  distinct rows a query may find in the mean: a number, or below 1 a share of the rows
    max_bytes       of the tables
    families        to try; None: those that suit the metric
    max_tables, max_probes  tried at most; None: 64 and 16
    sample          queries measured; the standard error of a recall is at most 0.5 / sqrt(sample)
    storage         what ``max_bytes`` counts: "packed", tables of `LSHIndex`, or "buckets", of training
    progress        called with (kinds of hash functions measured, all)

    The result depends on the data and ``seed`` alone.  Where nothing meets the goal, ``best`` is
    the nearest to it and ``out_of_reach`` says what is missing.
    Raises UsageError for wrong arguments, ShapeError for vectors that do not fit.
    """
    goal = Goal(target_recall, k, max_candidates, max_bytes)
    chosen = families_of(metric, families)
    problem = pose(X, queries, metric=metric, k=k, sample=sample, seed=seed)
    most = limits(max_tables, max_probes)
    specs = [
        spec
        for family in chosen
        for transform in transforms_of(family, metric)
        for spec in candidates(problem, [family], seed=seed, fixed={"transform": transform}, **most)
    ]
    return solve(problem, goal, specs, storage=storage, seed=seed, progress=progress)


def solve(
    problem: Problem,
    goal: Goal,
    specs: Sequence[HashSpec],
    *,
    storage: Storage = "packed",
    seed: int = 1,
    progress: Progress | None = None,
    sized: bool = True,
) -> Tuning:
    """Measure ``specs``, each with the most tables and probes to try, and choose; see `tune`.

    sized  find the bucket size of packed tables too, which they do not need themselves
    """
    if not specs:
        raise UsageError(
            "there are no hash functions to choose from; name other families, or raise max_tables"
        )
    measured: list[Measured] = []
    curves: dict[HashSpec, CollisionCurve] = {}
    for done, spec in enumerate(specs):
        measured.append(measure(problem, Hashed.of(problem, spec)))
        single = one_hash(spec)
        if single not in curves:
            curves[single] = collision_curve(problem, spec)
        if progress is not None:
            progress(done + 1, len(specs))
    found = [_with_formula(each, problem, goal, storage, curves[one_hash(each.spec)]) for each in measured]
    table = in_order(found)
    best = table[0]
    if sized or storage == "buckets":
        best = _finished(problem, goal, table, list(specs), storage, seed)
    table = [best, *(each for each in table if _functions(each.spec) != _functions(best.spec))]
    return Tuning(
        goal=goal,
        metric=problem.metric,
        n_rows=problem.n_rows,
        n_dims=problem.n_dims,
        n_queries=len(problem.neighbours),
        best=best,
        table=table,
        measured=measured,
        curves=list(curves.values()),
    )


def _with_formula(
    measured: Measured, problem: Problem, goal: Goal, storage: Storage, curve: CollisionCurve
) -> Setting:
    n = problem.n_rows

    def n_bytes(spec: HashSpec) -> int:
        if storage == "packed":
            return packed_bytes(spec, n)
        return bucket_bytes(spec, n, _usual_size(spec, n))

    unprobed = measured.recall[:, 0] - MARGIN * measured.error[:, 0] >= goal.recall
    return replace(
        best_of(measured, goal, n, n_bytes, storage),
        one_hash=curve.of_neighbours,
        tables_by_formula=tables_by_formula(curve.of_neighbours, measured.spec.n_hashes, goal.recall),
        tables_unprobed=int(unprobed.argmax()) + 1 if unprobed.any() else None,
    )


def tables_by_formula(p: float, n_hashes: int, recall: float) -> float | None:
    """Return L = log(1 - recall) / log(1 - p**K), rounded up; None if no hash ever agrees."""
    together = p**n_hashes
    if together <= 0:
        return None
    return 1.0 if together >= 1 else float(math.ceil(math.log(1 - recall) / math.log1p(-together)))


def _usual_size(spec: HashSpec, n_rows: int) -> int:
    """Return the buckets' size that holds the mean population, before overflow is measured."""
    return max(4, 1 << (n_rows // spec.n_buckets).bit_length())


def _finished(
    problem: Problem, goal: Goal, table: list[Setting], specs: list[HashSpec], storage: Storage, seed: int
) -> Setting:
    """Return the best setting with its bucket size."""
    if storage == "packed":
        best = table[0]
        return replace(best, bucket_size=bucket_size_of(problem, best.spec, seed))
    finished: list[Setting] = []
    for setting in table[:_FINISHED]:
        good = [each for each in finished if each.meets]
        if good and min(each.query_us for each in good) <= setting.query_us:
            break
        spec = next(s for s in specs if _functions(s) == _functions(setting.spec))
        finished.append(_keep_formula(best_with_buckets(problem, spec, goal, seed), setting))
    return in_order(finished)[0]


def _keep_formula(setting: Setting, before: Setting) -> Setting:
    return replace(
        setting,
        one_hash=before.one_hash,
        tables_by_formula=before.tables_by_formula,
        tables_unprobed=before.tables_unprobed,
    )


def _functions(spec: HashSpec) -> HashSpec:
    return replace(spec, n_tables=1, n_probes=0)
