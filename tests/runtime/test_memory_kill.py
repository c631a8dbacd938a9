"""The kernel's own kill for memory, of one process alone."""

from __future__ import annotations

import signal
import subprocess
import sys

from distlsh.runtime.chaos import memory_kill
from distlsh.runtime.chaos.memory_kill import can_kill_for_memory, no_memory_for
from tests.needs import needs

_GROWING = (
    "import time\nkept = []\nprint(flush=True)\nwhile True: kept.append(bytearray(1 << 16)); time.sleep(0.01)"
)


def test_a_process_without_memory_is_killed_and_its_group_goes():
    """The kernel sends SIGKILL when the process asks for a page; nothing of the control group is left."""
    needs(can_kill_for_memory(), "to make control groups, as root")
    process = subprocess.Popen([sys.executable, "-c", _GROWING], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline()
        with no_memory_for(process.pid):
            assert process.wait(30) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    root, _ = memory_kill._controller()
    assert not list(root.glob(f"distlsh-chaos-*-{process.pid}"))


def test_where_no_group_can_be_made_memory_is_not_among_the_faults(monkeypatch):
    """Without the right to make control groups, chaos says so instead of failing."""
    monkeypatch.setattr(memory_kill, "_ROOTS", ())
    assert not can_kill_for_memory()
