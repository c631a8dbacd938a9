"""Processes of runs whose coordinator is no more.

They end by themselves, unless a signal has stopped them all: then they stay, and hold the run's memory.
"""

from __future__ import annotations

import os
import re
import select
import signal
from contextlib import suppress
from dataclasses import dataclass

import psutil

from distlsh.runtime.procfs import arguments_of, pids
from distlsh.shm.names import maker_alive
from distlsh.shm.procstat import process_stat

_END_S = 5.0
"""Seconds for a process to be gone that was killed."""

_NAMESPACES = ("pid", "time")
"""In others a pid or the clock ticks of its start are not what they are here."""

# What `processes` starts as the fork server: children have its command.
_CODE = re.compile(
    r"import sys; sys\.path\[:\] = .*; from multiprocess\.forkserver import main; main\(.*"
    r"  # (distlsh-\d{1,20}-\d{1,20}-[0-9a-f]{8})",
    re.ASCII | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process of a run that is no more, surely: its coordinator would be seen."""

    pid: int
    name: str
    run_id: str
    started: int

    def end(self) -> bool:
        """Kill it, if it is still the one that was found; tell whether it is gone."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if _orphan(self.pid) != self:  # looked at again: from here on the pid is this process's
                return False
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            return bool(poller.poll(_END_S * 1000))
        except ProcessLookupError:
            return True
        finally:
            os.close(descriptor)


def find_orphans() -> list[Orphan]:
    """Return this user's processes, of this process's namespaces, whose run is no more."""
    if not _sees_itself():
        return []
    return [orphan for pid in pids() if (orphan := _orphan(pid)) is not None]


def end_orphans() -> None:
    """End them all, as far as the system lets this process see and reach them."""
    with suppress(OSError):  # no descriptor is to be had, or there is no /proc: another start ends them
        for orphan in find_orphans():
            orphan.end()


def _orphan(pid: int) -> Orphan | None:
    if not _is_at_home(pid):  # first: nothing is made of what others' processes say
        return None
    run_id, found = _run_of(pid), process_stat(pid)
    if run_id is None or found is None or maker_alive(run_id):
        return None
    return Orphan(pid, found.name, run_id, found.started)


def _run_of(pid: int) -> str | None:
    arguments = arguments_of(pid)
    if len(arguments) < 3 or arguments[-2] != "-c":
        return None
    match = _CODE.fullmatch(arguments[-1])
    return match[1] if match is not None else None


def _is_at_home(pid: int) -> bool:
    try:
        own = set(psutil.Process(pid).uids()) == {os.geteuid()}
        return own and all(_namespace("self", kind) == _namespace(pid, kind) for kind in _NAMESPACES)
    except (OSError, psutil.Error):
        return False


def _namespace(pid: int | str, kind: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except FileNotFoundError:  # a kernel without namespaces of time
        return ""


def _sees_itself() -> bool:
    """Tell whether /proc shows the pids that this process knows: it may be another container's."""
    return os.readlink("/proc/self") == str(os.getpid())
