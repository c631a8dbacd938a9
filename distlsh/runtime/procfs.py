"""What the kernel says of other processes, in /proc."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def stands_still(pid: int, *, traced: bool = True) -> bool:
    """Tell whether a process was stopped by a signal; or, if ``traced``, by a debugger."""
    return _state(pid) in ("Tt" if traced else "T")


def children_named(names: Sequence[str]) -> list[int]:
    """Return the children of this process, zombies too, whose kernel name is one of ``names``."""
    found = ((pid, *_name_and_parent(pid)) for pid in _pids())
    return [pid for pid, name, parent in found if parent == os.getpid() and name in names]


def processes_of(run_id: str) -> list[int]:
    """Return the fork servers of a run and all that they forked, zombies not."""
    return [pid for pid in _pids() if _is_forked_for(run_id, _command(pid))]


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


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _state(pid: int) -> str:
    return _stat(pid)[1][:1] or "X"


def _name_and_parent(pid: int) -> tuple[str, int]:
    name, rest = _stat(pid)
    return name, int(rest.split()[1]) if rest else -1


def _stat(pid: int) -> tuple[str, str]:
    """Return the kernel name, and the fields from the state on; both empty if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return "", ""
    head, _, rest = text.rpartition(") ")
    return head.partition("(")[2], rest
