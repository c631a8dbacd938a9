"""What disturbs and measures runs leaves none of them behind, however it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from distlsh.runtime.prctl import ending_with_caller

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
COMMANDS = {
    "chaos": ["-m", "distlsh.cli.main", "bench", "chaos", "--faults", "1", "--run-dir", "chaos"],
    "soak": [str(BENCHMARKS / "soak.py"), "--minutes", "1", "--output", "soak.json"],
    "crash_saves": [str(BENCHMARKS / "crash_saves.py"), "--crashes", "1"],
    "recovery": [str(BENCHMARKS / "recovery.py"), "--n", "0", "--stops", "1"],
}


@pytest.fixture
def folder():
    """A folder whose name leaves room for sockets: their addresses are short."""
    with tempfile.TemporaryDirectory(prefix="dlend-", dir="/tmp") as name:
        yield Path(name)


def is_run(process):
    try:
        return "distlsh.cli.launch" in process.cmdline()
    except psutil.Error:
        return False


def started_run(command):
    """Return the training that the command starts, once it is there."""
    end = time.monotonic() + 60
    while time.monotonic() < end and command.is_running():
        for process in command.children():
            if is_run(process):
                return process
        time.sleep(0.01)
    raise AssertionError("no run was started")


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("chaos", signal.SIGTERM),
        ("chaos", signal.SIGKILL),
        pytest.param("soak", signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param("crash_saves", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("recovery", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_run_ends_with_the_command_that_measures_it(folder, name, number):
    """A closed terminal, a limit of time, even SIGKILL: no training goes on, and a signal leaves no file."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(folder)}
    command = subprocess.Popen(
        [sys.executable, *COMMANDS[name]], cwd=folder, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=ending_with_caller(),
    )  # fmt: skip
    run = started_run(psutil.Process(command.pid))
    command.send_signal(number)
    assert command.wait(30) != 0
    gone, _ = psutil.wait_procs([run], timeout=5)
    if not gone:
        run.kill()
    assert gone, "the run goes on without anyone"
    if number != signal.SIGKILL:
        assert [path.name for path in folder.iterdir() if path.name != "chaos"] == []


def test_what_a_background_job_starts_can_be_interrupted():
    """Processes that are to be struck hear SIGINT and SIGHUP, which a shell's background ignores."""
    code = (
        "import signal, subprocess, sys; from distlsh.runtime.prctl import ending_with_caller\n"
        "for number in (signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)\n"
        "ask = 'import signal; print([int(signal.getsignal(n)) for n in (signal.SIGHUP,)],"
        " signal.getsignal(signal.SIGINT) is signal.default_int_handler)'\n"
        "subprocess.run([sys.executable, '-c', ask], preexec_fn=ending_with_caller())\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == f"[{int(signal.SIG_DFL)}] True"
