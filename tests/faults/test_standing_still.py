"""Stopped processes: a child is found by its silence; the coordinator blames nobody for its own."""

from __future__ import annotations

import signal
import time

import pytest
from running import Run
from striking import Steps, signalled
from watching import Watcher, child

from distlsh.runtime.launch import run

QUICK = {"workers": 2, "heartbeat_s": 0.2, "visits": True}


@pytest.mark.parametrize("role", ["worker-1", pytest.param("rehasher", marks=pytest.mark.slow)])
def test_a_stopped_child_is_replaced_after_a_few_heartbeats(config, tmp_path, role):
    """Long before run.heartbeat_timeout_s, since the system shows that a signal has stopped it."""
    watcher = Steps(signalled(role, signal.SIGSTOP), lambda watcher: watcher.told(f"{role} is back"))
    summary = run(config(train={"epochs": 15}, run=QUICK), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.worker_restarts == 1 and summary.visits_min == 15
    assert watcher.told("since a signal had stopped it") and not watcher.steps
    assert watcher.done_at[1] - watcher.done_at[0] < 10


class InEvaluation(Watcher):
    """Stops a worker in the initial evaluation."""

    struck = False

    def report(self, report):
        super().report(report)
        if report.phase == "evaluate" and not self.struck:
            self.struck = True
            child("worker-0").send_signal(signal.SIGSTOP)


@pytest.mark.slow
def test_a_worker_stopped_while_it_evaluates_is_replaced(config, tmp_path):
    """No row of the evaluation is lost or counted twice."""
    watcher = InEvaluation()
    summary = run(config(run=QUICK, eval={"n_rows": 800}), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.worker_restarts == 1
    assert all(evaluation.n_rows == 800 for evaluation in watcher.evaluations)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_with_its_children(tmp_path):
    """Ctrl-Z for longer than run.heartbeat_timeout_s, then fg: no child is blamed for its silence."""
    with Run(tmp_path, "run.heartbeat_timeout_s=2", "run.heartbeat_s=0.2") as started:
        children = started.until_training()
        for process in (started.process, *children):
            process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        before = started.samples()
        started.process.send_signal(signal.SIGCONT)
        time.sleep(0.2)
        for process in children:
            process.send_signal(signal.SIGCONT)
        started.until(lambda: started.samples() > before + 20_000)
        assert set(started.descendants()) == set(children)
        assert started.last()["worker_restarts"] == 0
