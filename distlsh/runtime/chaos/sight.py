"""What can be seen of a run from outside: its processes by role, descriptors, segments, files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from distlsh.runtime.procfs import pids
from distlsh.shm.names import SEGMENT_DIR
from distlsh.shm.procstat import process_stat

MARKER = "DISTLSH_CHAOS"
"""Variable that all processes of a run under test inherit: none can hide."""


class Seen(NamedTuple):
    """One process; ``state`` as in `ProcessStat`."""

    pid: int
    parent: int
    name: str
    state: str


def process(pid: int) -> Seen | None:
    """Return process ``pid``, None if there is none."""
    found = process_stat(pid)
    return None if found is None else Seen(pid, found.parent, found.name, found.state)


def marked(token: str) -> list[Seen]:
    """Return the living processes whose environment has ``token`` in `MARKER`."""
    wanted = f"{MARKER}={token}".encode()
    found = []
    for pid in pids():
        if wanted in _environment(pid) and (one := process(pid)) is not None:
            found.append(one)
    return [one for one in found if one.state not in "ZX"]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def zombies_below(parents: set[int]) -> set[int]:
    """Return the zombies whose parent is one of ``parents``."""
    seen = [process(pid) for pid in pids()]
    return {one.pid for one in seen if one is not None and one.state == "Z" and one.parent in parents}


def descriptors(pid: int) -> list[str]:
    """Return what the descriptors of a process point to."""
    found = []
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    for name in names:
        try:
            found.append(os.readlink(f"{folder}/{name}"))
        except OSError:
            continue
    return found


def segments(pid: int) -> list[Path]:
    """Return the segments of the run whose coordinator is, or was, ``pid``."""
    return sorted(SEGMENT_DIR.glob(f"distlsh-{pid}-*"))
