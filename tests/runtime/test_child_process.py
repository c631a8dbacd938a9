"""A child's exit code, as it is told by who forked it."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from distlsh.runtime.child_process import ChildProcess


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
        child = ChildProcess(status, lease, b"")
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
