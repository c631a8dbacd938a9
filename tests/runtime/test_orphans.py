"""Processes of dead runs: they are ended, and nobody else is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress

import pytest

from distlsh.cli.main import main
from distlsh.runtime.orphans import Orphan, end_orphans, find_orphans
from distlsh.shm.names import new_run_id
from distlsh.shm.procstat import process_stat

DEAD = f"distlsh-{(1 << 22) + 1}-1-0123abcd"
CODE = (
    "import sys; sys.path[:] = sys.path; from multiprocess.forkserver import main; main(0, 0) if 0 else 0;"
    "print('there', flush=True); sys.stdin.read()  # {}"
)


@pytest.fixture
def begin():
    """Begin a process with the command that children of a run have; return it when it is there."""
    with ExitStack() as stack:

        def make(run_id, *before, code=CODE):
            command = [*before, sys.executable, "-c", code.format(run_id)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout.readline() == "there\n"
            return process

        yield make


def pids():
    return {orphan.pid for orphan in find_orphans()}


def test_a_stopped_process_of_a_dead_run_is_found_and_ended(begin):
    """Also one of a run whose pid is used again; a process that took its place meanwhile is let be."""
    dead = begin(DEAD)
    dead.send_signal(signal.SIGSTOP)
    again = begin(f"distlsh-{os.getpid()}-1-0123abcd")
    assert pids() >= {dead.pid, again.pid}
    assert Orphan(dead.pid, "other", DEAD, 1).end() is False and dead.poll() is None
    end_orphans()
    assert dead.wait() == again.wait() == -signal.SIGKILL
    assert not pids() & {dead.pid, again.pid}


def test_doctor_lists_the_processes_of_dead_runs_and_clean_ends_them(begin, capsys, monkeypatch, tmp_path):
    """The list has pid and name and ends nothing."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    dead = begin(DEAD)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if f"process {dead.pid}" in line)
    assert process_stat(dead.pid).name in line and "distlsh doctor --clean" in out and dead.poll() is None
    assert main(["doctor", "--clean"]) == 0
    assert dead.wait() == -signal.SIGKILL
    assert f"ended process {dead.pid}" in capsys.readouterr().out


def test_numbers_of_thousands_of_digits_stop_no_start(begin):
    """A command can say anything; what no run writes is nobody's."""
    odd = [begin(f"distlsh-{'9' * 5000}-1-0123abcd"), begin(f"distlsh-1-{'9' * 5000}-0123abcd")]
    end_orphans()
    assert all(process.poll() is None for process in odd)


def test_processes_of_runs_that_live_and_of_other_programs_are_let_be(begin):
    """One of a run of this process, and one whose code only mentions a dead run."""
    mention = "print('there', flush=True); input()  # multiprocess.forkserver  # {}"
    others = [begin(new_run_id()), begin(DEAD, code=mention)]
    assert not pids() & {other.pid for other in others}


@pytest.mark.usefixtures("root")
def test_processes_of_other_users_are_let_be(begin):
    """They are not even listed, for root either."""
    code = CODE.replace("print(", "import os; os.setuid(65534); print(", 1)
    assert begin(DEAD, code=code).pid not in pids()


@pytest.mark.usefixtures("root")
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_processes_of_other_containers_are_let_be(begin):
    """A run's pid means nothing here where its processes live in another namespace of pids."""
    try:
        begin(DEAD, "unshare", "--pid", "--fork", "--kill-child")
    except AssertionError:
        pytest.skip("this system makes no namespaces")
    inside = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_inside(pid)]
    assert inside and not pids() & set(inside)


def _is_inside(pid):
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
    return False
