"""Counting rows that two workers have in a batch at once."""

from __future__ import annotations

import numpy as np

from distlsh.model.conflicts import ConflictWatch
from distlsh.model.counters import N_COUNTERS, Counter

ACTIVE = np.array([[1, 2, 3], [2, 5, 0]], np.int32)
BOUNDS = np.array([[1, 2, 3], [1, 2, 2]], np.int32)
OTHER = np.array([[5, 3, 9]], np.int32)
ALL = np.array([[1, 3, 3]], np.int32)


def watches():
    holders = np.zeros(10, np.int32)
    return [(ConflictWatch(holders, i), np.zeros(N_COUNTERS)) for i in (0, 1)]


def test_rows_that_another_batch_holds_are_conflicts():
    """Of three rows, two are in the other worker's batch; its own repeated row is none."""
    (one, counted), (other, met) = watches()
    one.enter(ACTIVE, BOUNDS, counted)
    other.enter(OTHER, ALL, met)
    assert counted[Counter.CONFLICTS] == 0 and counted[Counter.WATCHED] == 5
    assert met[Counter.CONFLICTS] == 2 and met[Counter.WATCHED] == 3


def test_a_batch_that_is_through_meets_nobody():
    """After leave, the next worker finds the rows free."""
    (one, counted), (other, met) = watches()
    one.enter(ACTIVE, BOUNDS, counted)
    one.leave(ACTIVE, BOUNDS)
    other.enter(OTHER, ALL, met)
    assert met[Counter.CONFLICTS] == 0


def test_a_row_taken_over_stays_with_who_took_it():
    """The first worker's leave does not free what the second entered meanwhile."""
    (one, counted), (other, met) = watches()
    one.enter(ACTIVE, BOUNDS, counted)
    other.enter(OTHER, ALL, met)
    one.leave(ACTIVE, BOUNDS)
    assert sorted(np.flatnonzero(one.holders)) == [3, 5, 9]
