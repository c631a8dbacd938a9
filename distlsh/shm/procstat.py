"""What the kernel tells of a process in ``/proc/PID/stat``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class ProcessStat(NamedTuple):
    """One process.

    state    a letter: R, S, T (stopped), t (traced), Z (zombie), X (gone), ...
    started  in clock ticks since boot: unlike a time of day, it stays when the clock is set
    """

    name: str
    state: str
    parent: int
    started: int


def process_stat(pid: int) -> ProcessStat | None:
    """Return what the kernel tells of ``pid``; None where there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    head, _, tail = text.rpartition(") ")  # a name may hold brackets itself
    state, parent, *others = tail.split()
    return ProcessStat(head.partition("(")[2], state, int(parent), int(others[17]))
