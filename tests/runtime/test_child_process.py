"""A child's exit code, as it is told by who forked it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import ExitStack
from functools import partial

import pytest

from distlsh.runtime.child_process import ChildProcess


def anyone(pid):
    return True


@pytest.fixture
def answer():
    """Make a child of which a fork server tells that it has this pid."""
    with ExitStack() as stack:

        def make(pid, ours=anyone):
            (status, tell), (data, lease) = os.pipe(), os.pipe()
            child = ChildProcess(status, lease, b"", ours)
            for end in (child.close, partial(os.close, tell), partial(os.close, data)):
                stack.callback(end)
            os.write(tell, pid.to_bytes(8, "little"))
            return child

        yield make


def test_a_child_that_was_reaped_before_its_pid_was_known_has_ended(answer):
    """It has answered, has no descriptor that could be watched, and is dead."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    child = answer(process.pid)
    assert child.answered() and child.pid == process.pid and child.fileno() == -1
    assert not child.ended(0.0, teller=False) and child.dead and child.ended(0.3, teller=False)


def test_a_pid_that_is_a_strangers_by_now_is_not_touched(answer):
    """Its process gets no signal; the child that had the pid has ended."""
    with subprocess.Popen(["sleep", "60"]) as stranger:
        child = answer(stranger.pid, ours=lambda pid: False)
        assert child.answered() and not child.ended(0.0, teller=False) and child.dead
        child.signal(signal.SIGKILL)
        time.sleep(0.05)
        assert stranger.poll() is None
        stranger.kill()


@pytest.fixture
def dead():
    """Make a child of another process, which has reaped it; return it and where its code is told."""
    with subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        pid = int(shell.stdout.readline())
        status, tell = os.pipe()
        data, lease = os.pipe()
        os.write(tell, pid.to_bytes(8, "little"))
        child = ChildProcess(status, lease, b"", anyone)
        assert child.answered() and not child.ended(0.0, teller=True)
        os.kill(pid, signal.SIGKILL)
        shell.wait()
        while not child.ended(0.0, teller=True) and not child.dead:
            time.sleep(0.01)
        yield child, tell
        child.close()
        os.close(data)
        os.close(tell)


def test_a_living_fork_server_is_given_time_to_tell(dead):
    """Where others have all cores it tells a second later, and it is that code, not an unknown one."""
    child, tell = dead
    assert not child.ended(1.0, teller=True)
    os.write(tell, (-signal.SIGKILL).to_bytes(8, "little", signed=True))
    assert child.ended(1.1, teller=True) and child.code == -signal.SIGKILL


def test_nobody_waits_long_for_a_code_that_nobody_may_tell(dead):
    """A fork server that is stopped, or gone, is not waited for; nor for ever one that lives."""
    child, _ = dead
    assert not child.ended(0.2, teller=False)
    assert child.ended(0.3, teller=False) and child.code is None
    assert not child.ended(1.9, teller=True) and child.ended(2.1, teller=True)
