"""From what was measured to the cheapest setting that meets the goal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tuning.costs import Storage, query_ns
from distlsh.lsh.tuning.goal import Goal
from distlsh.lsh.tuning.measure import Measured

Doubles = NDArray[np.float64]

MARGIN = 1.0
"""Standard errors by which a recall must be above the goal: the cheapest of many would else
be one whose recall was overrated by chance."""


@dataclass(frozen=True)
class Setting:
    """One row of the trade-off.

    spec               with its number of tables and probes
    recall, error      of the exact neighbours, and its standard error
    candidates         distinct ids found a query, in the mean
    query_us           microseconds of a query by the cost model
    n_bytes            of the tables
    one_hash           mean probability that one hash of the family agrees on a query and a neighbour
    tables_by_formula  L = log(1 - recall) / log(1 - p**K) with p of ``one_hash``; None: infinite
    tables_unprobed    tables that were measured to reach the goal without probes; None: more than tried
    within             whether candidates and bytes are within the goal's limits
    meets              whether it is within, and the recall is reached with a margin
    bucket_size        of training tables; None where it was not determined
    """

    spec: HashSpec
    recall: float
    error: float
    candidates: float
    query_us: float
    n_bytes: int
    within: bool
    meets: bool
    one_hash: float | None = None
    tables_by_formula: float | None = None
    tables_unprobed: int | None = None
    bucket_size: int | None = None


Bytes = Callable[[HashSpec], int]


def best_of(
    measured: Measured, goal: Goal, n_rows: int, n_bytes: Bytes, storage: Storage = "packed"
) -> Setting:
    """Return the cheapest setting of these hash functions that meets ``goal``, or the nearest to it.

    Nearest: of those within the limits of candidates and bytes, the one with the highest
    recall (within a standard error, the cheapest); where all exceed them, the one with fewest candidates.
    """
    cost = query_ns(measured, storage)
    sizes = np.array([n_bytes(replace(measured.spec, n_tables=i + 1)) for i in range(len(cost))])
    small = (sizes <= (goal.max_bytes or np.inf))[:, None] & np.ones_like(cost, bool)
    few = small & (measured.candidates <= goal.candidates_of(n_rows))
    good = few & (measured.recall - MARGIN * measured.error >= goal.recall)
    if good.any():
        place = _least(cost, good)
    elif few.any():
        near = measured.recall[few].max() - MARGIN * measured.error
        place = _least(cost, few & (measured.recall >= near))
    else:
        place = _least(measured.candidates, small) if small.any() else (0, 0)
    return _setting(measured, place, cost, int(sizes[place[0]]), bool(few[place]), bool(good[place]))


def _least(values: Doubles, among: NDArray[np.bool_]) -> tuple[int, int]:
    table, probe = np.unravel_index(np.argmin(np.where(among, values, np.inf)), values.shape)
    return int(table), int(probe)


def _setting(
    measured: Measured, place: tuple[int, int], cost: Doubles, n_bytes: int, within: bool, meets: bool
) -> Setting:
    table, probe = place
    return Setting(
        spec=replace(measured.spec, n_tables=table + 1, n_probes=probe),
        recall=float(measured.recall[place]),
        error=float(measured.error[place]),
        candidates=float(measured.candidates[place]),
        query_us=float(cost[place]) / 1000,
        n_bytes=n_bytes,
        within=within,
        meets=meets,
    )


def in_order(settings: Sequence[Setting]) -> list[Setting]:
    """Return settings best first.

    Those that meet the goal by cost, then those within its limits by recall, then the others by candidates.
    """
    return sorted(settings, key=_rank)


def _rank(setting: Setting) -> tuple[int, float, float]:
    if setting.meets:
        return 0, setting.query_us, setting.n_bytes
    if setting.within:
        return 1, -setting.recall, setting.query_us
    return 2, setting.candidates, setting.n_bytes
