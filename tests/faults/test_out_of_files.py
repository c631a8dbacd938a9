"""A run that may open no more files when a child is to be started again."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack

import pytest
from watching import Watcher, child

from distlsh.errors import ResourceError
from distlsh.runtime.launch import run
from distlsh.runtime.run_dir import RunDir
from tests.runtime.test_fork_server_limits import left


def test_a_run_without_descriptors_for_a_restart_says_so_and_keeps_what_it_learned(config, tmp_path):
    """The error names the limit to raise; a checkpoint of the training so far is there."""
    with ExitStack() as limits:

        def strike(watcher):
            victim = child("worker-1").pid
            limits.enter_context(left(0))
            os.kill(victim, signal.SIGKILL)

        watcher = Watcher(1000, strike)
        settings = config(train={"epochs": 25}, checkpoint={"interval_s": 0})
        with pytest.raises(ResourceError, match=r"worker-1 cannot be started.*ulimit -n"):
            run(settings, observer=watcher, run_dir=tmp_path / "run")
    assert watcher.at is None and RunDir(tmp_path / "run").has_checkpoint()
    assert not [one.text for one in watcher.notices if "could not be saved" in one.text]
