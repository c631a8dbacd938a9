"""Signals to a run at moments that matter: what is saved, what is told, and that nothing stays."""

from __future__ import annotations

import os
import signal
import time

import pytest
from striking import OnceThere, strike_at
from watching import Watcher, child

from distlsh.errors import ChildError, DistlshError, RunInterrupted
from distlsh.runtime import stop_signals
from distlsh.runtime.background import Saves
from distlsh.runtime.causes import Causes
from distlsh.runtime.failpoints import Point
from distlsh.runtime.launch import run

LONG = {"epochs": 50}


def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


@pytest.fixture
def no_pause(monkeypatch):
    """Two signals are two, however soon the second comes."""
    monkeypatch.setattr(stop_signals, "_SAME_S", 0.0)


def test_a_second_signal_while_a_childs_end_is_noted(config, tmp_path, monkeypatch, no_pause):
    """The end is noted whole, then all others are ended: no process and no other error stays."""
    noted = Causes.note

    def struck(self, role, code):
        send()
        send()
        return noted(self, role, code)

    monkeypatch.setattr(Causes, "note", struck)
    watcher = Watcher(at=1000, do=lambda _: child("worker-0").kill())
    with pytest.raises(DistlshError, match="SIGTERM: stopped at once"):
        run(config(train=LONG), observer=watcher, run_dir=tmp_path / "run")


def test_a_second_signal_when_all_is_saved_is_none(config, tmp_path, no_pause):
    """The state is saved, the children are still there: the run was interrupted, not stopped at once."""

    def ask(_):
        strike_at("coordinator", Point.SHUTDOWN, signal.SIGHUP)
        send()

    with pytest.raises(RunInterrupted, match="stopped; go on from the last checkpoint"):
        run(config(train=LONG), observer=Watcher(at=1000, do=ask), run_dir=tmp_path / "run")


def test_a_first_signal_before_the_first_batch_waits_for_nothing(config, tmp_path):
    """Nothing is learned that could be lost: no checkpoint is written, and the run can be begun again."""
    watcher = OnceThere(lambda: strike_at("coordinator", Point.READY, signal.SIGTERM))
    with pytest.raises(RunInterrupted, match="stopped; nothing was saved yet"):
        run(config(), observer=watcher, run_dir=tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").glob("*"))
    assert any("nothing has been trained yet" in notice.text for notice in watcher.notices)
    assert run(config(), resume=tmp_path / "run").status == "completed"


def test_a_signal_gives_up_the_checkpoint_of_a_run_that_failed(config, tmp_path, monkeypatch):
    """The run ends with its error, at once, and nothing is left of the save."""
    watch = Saves._watch

    def slow(self, moment):
        time.sleep(0.3)
        watch(self, moment)

    monkeypatch.setattr(Saves, "_watch", slow)

    def fail(_):
        strike_at("coordinator", Point.SAVE_BEFORE, signal.SIGTERM)
        child("worker-0").kill()

    watcher = Watcher(at=1000, do=fail)
    with pytest.raises(ChildError, match="max_restarts"):
        run(config(train=LONG, run={"max_restarts": 0}), observer=watcher, run_dir=tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    assert any("SIGTERM: stopped at once" in notice.text for notice in watcher.notices)
