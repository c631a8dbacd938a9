"""Restarts leave no descriptor, thread or memory map in the coordinator."""

from __future__ import annotations

import os
import signal
import time

import pytest

from distlsh.runtime.chaos import sight
from distlsh.runtime.chaos.prepare import Pace, base_config, paced
from distlsh.runtime.chaos.target import Target, kill
from distlsh.runtime.prctl import adopt_orphans


@pytest.fixture
def target(tmp_path):
    before = adopt_orphans(True)
    found = Target(tmp_path, "run")
    yield found
    found.close()
    adopt_orphans(before)


def held(pid):
    """Return the fewest descriptors and threads of a second: a checkpoint's file comes and goes."""
    looks = []
    for _ in range(20):
        looks.append((len(sight.descriptors(pid)), len(os.listdir(f"/proc/{pid}/task"))))
        time.sleep(0.05)
    return min(looks)


def killed_and_back(target, role):
    ear, since = target.life.ear, time.monotonic()
    kill(target.process_of(role).pid)
    assert target.until(lambda: ear.restarted(role, since) is not None, 60), f"{role} does not come back"


@pytest.mark.slow
def test_twenty_restarts_leave_as_many_descriptors_as_before(target, tmp_path):
    """After a first restart, nineteen more of workers, rehasher and fork server change nothing."""
    config = paced(base_config(None, [], 2, tmp_path / "cache"), Pace(epochs=100_000, gap=20_000), 1)
    target.start(config)
    assert target.until(lambda: target.life.ear is not None and target.life.ear.training() is not None, 600)
    pid = target.life.pid
    for role in ("worker-0", "rehasher"):
        killed_and_back(target, role)
    before = held(pid)
    for i in range(19):
        if i % 5 == 4:  # each child that is forked from then on comes from another
            kill(target.process_of("forkserver").pid)
        killed_and_back(target, ("worker-0", "worker-1", "rehasher")[i % 3])
    assert held(pid) == before
    kill(pid, signal.SIGINT)
    assert target.finish(60) == 130
    assert target.left() == []
