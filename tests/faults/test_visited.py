"""Every instance is trained in every epoch, whatever dies: counted with run.visits."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from striking import strike_at
from watching import Watcher

from distlsh.errors import CheckpointError, RunInterrupted
from distlsh.model.checkpoint import latest_checkpoint, read_checkpoint
from distlsh.runtime.failpoints import Point
from distlsh.runtime.launch import run
from distlsh.runtime.visits import VISITS


def test_a_killed_worker_repeats_samples_and_loses_none(config, tmp_path):
    """What a worker had trained of its chunk is trained again by others, and counted as repeated."""
    watcher = Watcher(at=3000, do=lambda watcher: strike_at("worker-0", Point.STEP))
    summary = run(config(run={"visits": True}), observer=watcher, run_dir=tmp_path / "run")
    assert summary.worker_restarts == 1
    assert summary.visits_min == 2 and 0 < summary.visits_repeated <= 512
    assert summary.visits_repeated == summary.repeated_samples  # the point is between two batches


def test_counts_go_on_after_a_resume(config, tmp_path):
    """An interrupted run saves its counts; whole and resumed together, each instance has two visits."""
    visiting = config(run={"visits": True})
    watcher = Watcher(at=3000, do=lambda watcher: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(RunInterrupted):
        run(visiting, observer=watcher, run_dir=tmp_path / "run")
    counts = read_checkpoint(latest_checkpoint(tmp_path / "run").path)[0][VISITS]
    assert 0 < counts.sum() < 12_000
    summary = run(visiting, resume=tmp_path / "run")
    assert summary.visits_min == 2 and summary.visits_repeated == 0
    counts = read_checkpoint(latest_checkpoint(tmp_path / "run").path)[0][VISITS]
    assert np.array_equal(counts, np.full(6000, 2))


def test_counting_cannot_begin_in_the_middle(config, tmp_path):
    """Turned on in a resumed run, counts would be too low: refused with the key."""
    watcher = Watcher(at=3000, do=lambda watcher: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(RunInterrupted):
        run(config(), observer=watcher, run_dir=tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"run\.visits cannot be turned on"):
        run(config(run={"visits": True}), resume=tmp_path / "run")
