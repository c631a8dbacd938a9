"""What is told of a death, from a log and the kernel's counters."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from distlsh.constants import NO_MEMORY_CODE
from distlsh.runtime import causes
from distlsh.runtime.causes import Causes, memory_kills

CRASH = """
import faulthandler, os, signal
faulthandler.enable()
def inner():
    os.kill(os.getpid(), signal.{name})
inner()
"""


@pytest.fixture
def crashed(tmp_path):
    """Write the log of a process that crashed; return the causes."""
    found = Causes(tmp_path)
    (tmp_path / "worker-0.log").write_text("ready\n")
    found.begins("worker-0")
    with (tmp_path / "worker-0.log").open("a") as log:
        subprocess.run([sys.executable, "-c", CRASH.format(name="SIGSEGV")], stderr=log, check=False)
    return found


def test_a_crash_is_told_with_its_place(crashed):
    """The function, file and line that the fault handler wrote."""
    assert crashed.note("worker-0", -signal.SIGSEGV) == "it was in inner, <string>, line 5"
    assert crashed.note("worker-0", -signal.SIGTERM) == "" == crashed.note("worker-0", 3)


def test_a_place_of_a_process_before_is_not_told(crashed):
    """Only what was written since the process was started counts, unless the log was begun anew."""
    crashed.begins("worker-0")
    assert crashed.note("worker-0", -signal.SIGSEGV) == ""
    assert "is empty" in crashed.log("worker-0")
    (crashed._logs / "worker-0.log").write_text("short\n")
    assert crashed.log("worker-0") == "short"


def test_want_of_memory_is_told_where_the_kernel_counted_it(tmp_path, monkeypatch):
    """SIGKILL while the count of memory kills rose: says so, and what to lower; else nothing is guessed."""
    kills = [7]
    monkeypatch.setattr(causes, "memory_kills", lambda: kills[0])
    found = Causes(tmp_path)
    assert found.note("worker-0", -signal.SIGKILL) == ""
    kills[0] = 8
    assert "ran out of memory meanwhile: lower run.workers" in found.note("worker-0", -signal.SIGKILL)
    assert found.note("worker-0", -signal.SIGKILL) == ""
    kills[0] = None
    assert found.note("worker-0", -signal.SIGKILL).startswith("perhaps the system ran out of memory")
    assert "lower run.workers" in found.note("worker-0", NO_MEMORY_CODE)


def test_this_systems_counter_is_read():
    """Linux counts memory kills since 4.13."""
    assert memory_kills() is not None and memory_kills() >= 0
