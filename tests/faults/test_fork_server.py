"""The fork server may be killed, stopped or busy: children go on, and others come when it answers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress

import psutil
import pytest
from striking import Steps, fork_server, signalled
from watching import Watcher

from distlsh.errors import ChildError, DistlshError
from distlsh.protocol.messages import Hello
from distlsh.runtime.child_process import ChildProcess
from distlsh.runtime.launch import run
from distlsh.runtime.processes import ForkServer
from distlsh.runtime.run_dir import RunDir
from distlsh.transport.control import ControlServer

LONG = {"epochs": 12}


def server(number):
    def send(watcher) -> bool:
        fork_server().send_signal(number)
        return True

    return send


def told(text):
    return lambda watcher: watcher.told(text)


def ended_by_hand(watcher) -> bool:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.4)
    os.kill(os.getpid(), signal.SIGINT)
    return True


def test_a_killed_fork_server_costs_no_child(config, tmp_path):
    """Its children train on; the next server forks the successor of one that dies later, and how is known."""
    watcher = Steps(
        server(signal.SIGKILL), told("started another"), signalled("worker-1"), told("worker-1 is back")
    )
    summary = run(config(train=LONG), observer=watcher, run_dir=tmp_path / "run")
    assert not watcher.steps and summary.status == "completed" and summary.worker_restarts == 1
    assert watcher.told("fork server was ended by SIGKILL") and watcher.told(") was ended by SIGKILL")


def test_a_stopped_fork_server_is_continued_and_stalls_nobody(config, tmp_path):
    """A worker that dies then is back as soon as with a running server; meanwhile the other worker trains."""

    def strike(watcher):
        server(signal.SIGSTOP)(watcher)
        return signalled("worker-1")(watcher)

    watcher = Steps(strike, told("worker-1 is back"))
    summary = run(config(train={"epochs": 25}), observer=watcher, run_dir=tmp_path / "run")
    assert not watcher.steps and summary.status == "completed" and summary.worker_restarts == 1
    assert watcher.told("told to go on") and not watcher.told("started another")
    assert max(b.time_s - a.time_s for a, b in zip(watcher.reports, watcher.reports[1:], strict=False)) < 2
    struck, back = watcher.done_at
    assert back - struck < 4


def test_a_fork_server_that_is_stopped_again_and_again_is_replaced(config, tmp_path):
    """To be continued does not help it: the next one takes its place, and no child is lost."""

    def keep_stopping(one):
        with suppress(psutil.NoSuchProcess):
            while True:
                one.send_signal(signal.SIGSTOP)
                time.sleep(0.01)

    stopping = []

    def strike(watcher):
        stopping.append(threading.Thread(target=keep_stopping, args=(fork_server(),)))
        stopping[0].start()
        return True

    watcher = Steps(strike, told("started another"))
    summary = run(config(train=LONG), observer=watcher, run_dir=tmp_path / "run")
    stopping[0].join(10)
    assert not watcher.steps and summary.status == "completed" and summary.worker_restarts == 0
    assert watcher.count("told to go on") >= 5


class AtTheStart(Watcher):
    """Strikes the fork server while it imports."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def start(self, config, run_dir):
        super().start(config, run_dir)
        fork_server().send_signal(self.number)


STOPPED = pytest.param(signal.SIGSTOP, "told to go on", marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "number, text", [(signal.SIGKILL, "started another"), STOPPED], ids=["killed", "stopped"]
)
def test_a_fork_server_struck_while_it_imports_costs_no_child(config, tmp_path, number, text):
    """The children that were asked for come from it, or the next one; none is counted as started again."""
    watcher = AtTheStart(number)
    summary = run(config(), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.worker_restarts == 0
    assert any(text in notice.text for notice in watcher.notices)


def test_children_that_speak_before_the_fork_server_does_are_heard(config, tmp_path, monkeypatch):
    """A server that is slow to tell of a child loses no hello: all roles work, those of successors too."""
    asked, greeted = Counter(), set()  # how often a child was looked at since all had greeted
    answered, receive = ChildProcess.answered, ControlServer.receive

    def late(child):
        asked[id(child)] += len(greeted) >= len(asked)
        return asked[id(child)] > 1 and answered(child)  # first looked at in `check`, then in `hear`

    def heard(server):
        messages = receive(server)
        greeted.update(message.pid for message in messages if isinstance(message, Hello))
        return messages

    monkeypatch.setattr(ChildProcess, "answered", late)
    monkeypatch.setattr(ControlServer, "receive", heard)
    watcher = Steps(signalled("worker-1"), told("worker-1 is back"))
    summary = run(config(train={"epochs": 10}), observer=watcher, run_dir=tmp_path / "run")
    assert not watcher.steps and summary.status == "completed" and summary.worker_restarts == 1


def test_a_fork_server_that_cannot_start_ends_the_run(config, tmp_path, monkeypatch):
    """Its own error is not tried again: the run ends at once, and says where the error is."""
    monkeypatch.setattr("distlsh.runtime.processes._search_path", lambda: [str(tmp_path)])
    with pytest.raises(ChildError, match="could start a child"):
        run(config(), run_dir=tmp_path / "run")


@pytest.mark.slow
def test_a_fork_server_that_keeps_dying_ends_the_run(config, tmp_path):
    """More deaths than run.max_restarts allows end the run, with what was learned saved."""
    watcher = Steps(server(signal.SIGKILL), told("started another"), server(signal.SIGKILL))
    with pytest.raises(ChildError, match="restarted 1 times within"):
        run(config(train=LONG, run={"max_restarts": 1}), observer=watcher, run_dir=tmp_path / "run")
    assert RunDir(tmp_path / "run").has_checkpoint()


def test_a_run_that_ends_while_a_child_is_asked_for_leaves_nothing(config, tmp_path, monkeypatch):
    """A stop at once does not wait for the stopped server (see the leak check of every test)."""
    monkeypatch.setattr(ForkServer, "resume", lambda server: None)

    def strike(watcher):
        server(signal.SIGSTOP)(watcher)
        return signalled("worker-1")(watcher)

    watcher = Steps(strike, told("worker-1"), ended_by_hand)
    with pytest.raises(DistlshError, match="stopped at once"):
        run(config(train=LONG), observer=watcher, run_dir=tmp_path / "run")
