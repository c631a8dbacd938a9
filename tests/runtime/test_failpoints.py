"""Points at which a process can be struck from outside."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from distlsh.config.schema import Config
from distlsh.runtime.failpoints import (
    COORDINATOR,
    COORDINATOR_POINTS,
    FAILPOINTS,
    REHASHER_POINTS,
    WORKER_POINTS,
    Point,
    failpoint,
    failpoint_spec,
    line_of,
)
from distlsh.runtime.layout import Sizes, plan_arrays
from distlsh.runtime.roles import REHASHER, worker_role

SOURCES = Path(__file__).parents[2] / "distlsh"


@pytest.fixture
def arena():
    spec = failpoint_spec(3)
    return {FAILPOINTS: np.zeros(spec.shape, spec.dtype)}


def test_a_process_comes_past_points_that_are_not_set(arena):
    """Nothing happens where nothing, or another point, was set."""
    line = line_of(arena, worker_role(1))
    failpoint(line, Point.STEP)
    arena[FAILPOINTS][1, :2] = Point.CHUNK, signal.SIGKILL
    failpoint(line, Point.STEP)
    assert arena[FAILPOINTS][1, 0] == Point.CHUNK


def test_a_process_is_struck_once_by_the_signal_that_was_set(arena):
    """The process sends itself the signal at the point, and the point is empty from then on."""
    pid = os.fork()
    if pid == 0:
        arena[FAILPOINTS][0, :2] = Point.STEP, signal.SIGUSR1
        taken = []
        signal.signal(signal.SIGUSR1, lambda number, frame: taken.append(number))
        line = line_of(arena, worker_role(0))
        for _ in range(3):
            failpoint(line, Point.STEP)
        os._exit(0 if taken == [signal.SIGUSR1] and line[0] == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_each_role_has_a_line_of_its_own(arena):
    """Setting a role's point strikes nobody else: lines are cache lines that do not overlap."""
    roles = [worker_role(0), worker_role(1), worker_role(2), REHASHER, COORDINATOR]
    for number, role in enumerate(roles):
        line_of(arena, role)[0] = number + 1
    assert [line_of(arena, role)[0] for role in roles] == [1, 2, 3, 4, 5]
    assert arena[FAILPOINTS][:, 0].tolist() == [1, 2, 3, 4, 5]
    assert arena[FAILPOINTS].strides[0] == 64


def test_the_array_is_the_first_of_every_run_and_not_saved():
    """Who strikes finds it at the start of the segment, whatever the configuration."""
    sizes = Sizes(n_features=50, n_labels=40, n_train=30, n_test=10, max_labels=3)
    first = plan_arrays(Config(), sizes)[0]
    assert first.name == FAILPOINTS and not first.persistent


def test_every_point_is_of_a_role_and_stands_in_the_code():
    """A point that nobody comes past could be drawn and would never strike."""
    assert {*WORKER_POINTS, *REHASHER_POINTS, *COORDINATOR_POINTS} == set(Point)
    code = "".join(path.read_text() for path in SOURCES.rglob("*.py") if path.name != "failpoints.py")
    assert [point.name for point in Point if f"Point.{point.name}" not in code] == []
