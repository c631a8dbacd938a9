"""kill -9 of the coordinator: its children end, and nothing of the run stays."""

from __future__ import annotations

import os
import signal
import time

import pytest
from running import Run

from distlsh.runtime.orphans import end_orphans
from distlsh.shm.names import SEGMENT_DIR, sweep

PROMISE_S = 5.0
CHOSEN = ["lsh.auto.recall=0.5", "lsh.auto.max_bytes=4194304"]


def gone(run, processes):
    """Kill the coordinator; its children, segments and sockets must go in time."""
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    nothing_left(run, processes)


def nothing_left(run, processes):
    """Return when all are gone, in time."""
    began = time.monotonic()
    while left := run.left_behind(processes):
        assert time.monotonic() - began < PROMISE_S, left
        time.sleep(0.02)


@pytest.mark.parametrize(
    "settings", [[], pytest.param(CHOSEN, marks=pytest.mark.slow)], ids=["given", "chosen"]
)
def test_a_killed_coordinator_leaves_no_process_segment_or_socket(tmp_path, settings):
    """The children notice, remove segments (tables that the run chose have their own), and exit."""
    with Run(tmp_path, *settings) as run:
        processes = run.until_training()
        assert len(processes) >= 4  # fork server, 2 workers, rehasher
        segments = list(SEGMENT_DIR.glob(f"distlsh-{run.process.pid}-*"))
        assert len(segments) == (2 if settings else 1)
        gone(run, processes)


def test_a_stopped_child_does_not_outlive_a_killed_coordinator(tmp_path):
    """It cannot notice; the others, who do, end it."""
    with Run(tmp_path) as run:
        processes = run.until_training()
        worker = next(process for process in processes if process.name() == "worker-0")
        worker.send_signal(signal.SIGSTOP)
        gone(run, processes)


@pytest.mark.slow
def test_children_that_all_stood_still_are_ended_by_the_next_start(tmp_path):
    """Nobody is left who could end them; what a start does first finds them, and what they hold."""
    with Run(tmp_path) as run:
        processes = run.until_training()
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        os.kill(run.process.pid, signal.SIGKILL)
        run.process.wait()
        time.sleep(0.3)
        assert len(run.left_behind(processes)) >= 4  # 2 workers, the rehasher, the segment
        end_orphans()
        sweep()
        nothing_left(run, processes)


@pytest.mark.parametrize(
    "n_processes", [1, pytest.param(3, marks=pytest.mark.slow)], ids=["server", "workers"]
)
def test_a_coordinator_killed_while_it_starts_leaves_no_process(tmp_path, n_processes):
    """The fork server ends while it imports, its children before they have looked around."""
    with Run(tmp_path) as run:
        run.until(lambda: len(run.descendants()) >= n_processes)
        processes = run.descendants()
        os.kill(run.process.pid, signal.SIGKILL)
        run.process.wait()
        began = time.monotonic()
        while any(process.is_running() for process in processes):
            assert time.monotonic() - began < PROMISE_S
            time.sleep(0.02)
    sweep()  # the folder of a server that had no children yet
    assert run.left_behind(processes) == []
