"""What a run's processes hold in memory."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil

_INTERVAL_S = 5.0


class MemoryWatch:
    """The largest sum of shared and private memory seen, in bytes.

    shared   the arena and the mapped data stores, counted once
    private  pages of the coordinator and its children that no one else maps
    """

    def __init__(self, shared_bytes: int) -> None:
        self._shared = shared_bytes
        self._next = 0.0
        self.peak_bytes = shared_bytes

    def sample(self, pids: Iterable[int]) -> None:
        """Look at the processes, at most every few seconds."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _INTERVAL_S
        private = sum(_private_bytes(pid) for pid in (psutil.Process().pid, *pids))
        self.peak_bytes = max(self.peak_bytes, self._shared + private)


def _private_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
