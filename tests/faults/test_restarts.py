"""A child that is killed: how its successor is told, and what was done twice."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import psutil
import pytest
from striking import Steps, signalled, strike_at, until
from watching import Watcher, child

from distlsh.errors import ChildError
from distlsh.protocol.reports import Restart
from distlsh.runtime.child_process import ChildProcess
from distlsh.runtime.failpoints import Point
from distlsh.runtime.launch import run
from distlsh.runtime.run_dir import RunDir
from distlsh.runtime.staff import Staff
from distlsh.transport.metrics import subscribe


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_processes_carry_the_names_of_their_roles(config, tmp_path):
    """Each child is named as its role, the process that they are forked from `forkserver`."""
    names = []

    def look(watcher):
        names.extend(name_of(child(role).pid) for role in ("worker-0", "worker-1", "rehasher"))
        names.append(name_of(child("worker-0").ppid()))

    run(config(), observer=Watcher(1000, look), run_dir=tmp_path / "run")
    assert names == ["worker-0", "worker-1", "rehasher", "forkserver"]


class Listener(Watcher):
    """Subscribes to what the run publishes about restarts."""

    def __init__(self, *args):
        super().__init__(*args)
        self.restarts = []
        self.thread = None

    def notice(self, notice):
        super().notice(notice)
        if "published at" in notice.text:
            where = notice.text.split()[-1]
            self.thread = threading.Thread(target=self.listen, args=(where,))
            self.thread.start()

    def listen(self, where):
        everything = subscribe(where, timeout_s=2.0)  # which ends with the reports
        self.restarts.extend(one for one in everything if isinstance(one, Restart))


def test_a_restart_is_published_and_what_was_done_twice_is_counted(config, tmp_path):
    """The successor's pid and the seconds without it go to subscribers and readers; repeats add up."""
    watcher = Listener(1000, lambda _: strike_at("worker-1", Point.STEP))
    summary = run(config(train={"epochs": 6}), observer=watcher, run_dir=tmp_path / "run")
    watcher.thread.join()
    (restart,) = watcher.restarts
    assert isinstance(restart, Restart) and restart.role == "worker-1" and "SIGKILL" in restart.why
    assert 0 < restart.down_s < 2 and not psutil.pid_exists(restart.pid)
    assert any(f"worker-1 is back as pid {restart.pid}" in notice.text for notice in watcher.notices)
    assert summary.samples == 36_000 and 0 < summary.repeated_samples < 512
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["samples"] == 36_000 and last["repeated_samples"] == summary.repeated_samples


def test_repeats_survive_a_failure_and_a_resume(config, tmp_path):
    """What a failed run had begun and not acknowledged is done again by the resumed one, and counted."""
    watcher = Watcher(1000, lambda _: strike_at("worker-1", Point.BACKWARD))
    with pytest.raises(ChildError, match="restarted 0 times within 600 s"):
        run(config(run={"max_restarts": 0}), observer=watcher, run_dir=tmp_path / "run")
    failed = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert failed["repeated_samples"] > 0
    summary = run(config(), resume=tmp_path / "run")
    assert summary.samples == 12_000 and summary.repeated_samples == failed["repeated_samples"]


def test_a_child_that_is_dead_and_reaped_before_its_pid_is_known_is_replaced(config, tmp_path, monkeypatch):
    """A coordinator that stood still for a while finds a pid that means nobody: one more restart."""
    read, answers = ChildProcess._read, []

    def late(self):
        number = read(self)
        if self.pid is None and number is not None:
            answers.append(number)
            if len(answers) == 4:  # the first successor
                os.kill(number, signal.SIGKILL)
                until(lambda: not psutil.pid_exists(number), "the fork server reaps it")
        return number

    monkeypatch.setattr(ChildProcess, "_read", late)
    watcher = Steps(signalled("worker-1"), lambda seen: seen.told("worker-1 is back"))
    summary = run(config(train={"epochs": 10}), observer=watcher, run_dir=tmp_path / "run")
    assert not watcher.steps and len(answers) == 5
    assert summary.status == "completed" and summary.worker_restarts == 2


def test_what_was_learned_is_saved_even_if_the_children_cannot_be_ended(config, tmp_path, monkeypatch):
    """An error while they are ended, after another, leaves a checkpoint of the training so far."""
    stop, errors = Staff.stop, []

    def fail(self, at_once=False):
        stop(self, at_once=True)
        if not errors:
            errors.append(OSError("no way to end them"))
            raise errors[0]

    def mistake(watcher):
        raise ZeroDivisionError

    monkeypatch.setattr(Staff, "stop", fail)
    with pytest.raises(OSError, match="no way to end them"):
        run(config(checkpoint={"interval_s": 0}), observer=Watcher(1000, mistake), run_dir=tmp_path / "run")
    assert errors and RunDir(tmp_path / "run").has_checkpoint()
