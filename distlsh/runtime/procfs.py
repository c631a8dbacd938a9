"""What the kernel says of other processes, in /proc."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from distlsh.shm.procstat import process_stat


def stands_still(pid: int, *, traced: bool = True) -> bool:
    """Tell whether a process was stopped by a signal; or, if ``traced``, by a debugger."""
    found = process_stat(pid)
    return found is not None and found.state in ("Tt" if traced else "T")


def children_named(names: Sequence[str]) -> list[int]:
    """Return the children of this process, zombies too, whose kernel name is one of ``names``."""
    return [pid for pid in pids() if _is_child_named(pid, names)]


def processes_of(run_id: str) -> list[int]:
    """Return the fork servers of a run and all that they forked, zombies not."""
    return [pid for pid in pids() if _is_forked_for(run_id, _command(pid))]


def may_be_of(run_id: str, pid: int) -> bool:
    """Tell whether a process is one of `processes_of`, or a zombie, whose command nobody knows any more."""
    command = _command(pid)
    return not command or _is_forked_for(run_id, command)


def _is_forked_for(run_id: str, command: bytes) -> bool:
    # Their command is the fork server's own, which ends with the run's name.
    return b"multiprocess.forkserver" in command and run_id.encode() in command


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def pids() -> list[int]:
    """Return all processes that are to be seen."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def arguments_of(pid: int) -> list[str]:
    """Return the command of a process, word by word; empty where nobody knows it."""
    return [os.fsdecode(word) for word in _command(pid).split(b"\0")[:-1]]


def _is_child_named(pid: int, names: Sequence[str]) -> bool:
    found = process_stat(pid)
    return found is not None and found.parent == os.getpid() and found.name in names
