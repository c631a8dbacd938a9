"""Which faults a chaos run injects."""

from __future__ import annotations

import pytest

from distlsh.runtime.chaos.faults import (
    CHILD_KINDS,
    COORDINATOR_KINDS,
    FORK_SERVER,
    OPENING_POINTS,
    Choices,
    covered,
    plan_faults,
)
from distlsh.runtime.failpoints import COORDINATOR, Point
from distlsh.runtime.roles import REHASHER

CHOICES = Choices(n_workers=3, tunes=True)


def test_the_same_seed_draws_the_same_faults():
    """A failed run can be repeated; another seed draws others."""
    assert plan_faults(7, 60, CHOICES) == plan_faults(7, 60, CHOICES)
    assert plan_faults(7, 60, CHOICES) != plan_faults(8, 60, CHOICES)


@pytest.mark.parametrize("seed", range(5))
def test_a_long_plan_has_every_role_with_every_kind_and_every_point(seed):
    """What is drawn at random is only the order, and what follows the first of each."""
    found = covered(plan_faults(seed, 90, CHOICES).faults)
    pairs = {(group, kind) for group in ("worker", REHASHER) for kind in CHILD_KINDS}
    pairs |= {(COORDINATOR, kind) for kind in COORDINATOR_KINDS}
    pairs |= {(FORK_SERVER, kind) for kind in ("kill", "stop")}
    assert pairs <= found
    assert set(Point) <= found


def test_a_plan_has_as_many_faults_as_asked_for_numbered_from_one():
    """Spare faults go on with the numbers and are not counted."""
    for n in (1, 2, 9, 40, 200):
        plan = plan_faults(1, n, CHOICES)
        assert [fault.number for fault in plan.faults] != [] and len(plan.faults) == n
        numbers = [f.number for f in [*plan.opening, *plan.middle, *plan.closing, *plan.spare]]
        assert numbers == list(range(1, len(numbers) + 1))


def test_points_before_training_are_struck_at_the_start_alone():
    """A run that trains does not come past them again."""
    plan = plan_faults(3, 400, CHOICES)
    assert not {fault.point for fault in plan.middle} & set(OPENING_POINTS)
    assert {fault.point for fault in plan.opening} >= set(OPENING_POINTS)


def test_what_is_not_there_is_not_struck():
    """Without control groups no memory kill, without lsh.auto no choice of hash functions to disturb."""
    bare = Choices(n_workers=1, memory=False, tunes=False, pretrains=False)
    faults = plan_faults(1, 300, bare).faults
    assert "memory" not in {fault.kind for fault in faults}
    assert not {Point.TUNE, Point.PRETRAIN} & {fault.point for fault in faults}
    assert {fault.role for fault in faults} == {"worker-0", REHASHER, FORK_SERVER, COORDINATOR}


def test_a_run_without_tables_has_no_rehasher_to_wait_for_or_strike():
    """A dense output: nobody refreshes tables, no worker reads them."""
    plan = plan_faults(1, 300, Choices(n_workers=2, tables=False))
    assert plan.roles == ["worker-0", "worker-1", FORK_SERVER]
    assert len(plan.faults) == 300
    faults = [*plan.faults, *plan.spare]
    assert {fault.role for fault in faults} == {"worker-0", "worker-1", FORK_SERVER, COORDINATOR}
    assert Point.READING not in {fault.point for fault in faults}
    assert plan_faults(1, 3, CHOICES).roles == ["worker-0", "worker-1", "worker-2", REHASHER, FORK_SERVER]
