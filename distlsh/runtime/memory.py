"""What a run's processes hold in memory."""

from __future__ import annotations

import re
import time
from pathlib import Path

import psutil

_INTERVAL_S = 5.0
_SHARE = 0.002
"""Of a core, that looking may take: over gigabytes in small pages a look takes the kernel a while."""

_ANONYMOUS = re.compile(r"^Pss_Anon:\s+(\d+) kB", re.MULTILINE)


class MemoryWatch:
    """The largest sum of shared and private memory seen, in bytes.

    shared   the arena and the mapped data stores, counted once
    private  anonymous pages of this process and all below it, fork server included; a page
             that several have is counted once, each its part
    """

    def __init__(self, shared_bytes: int) -> None:
        self._shared = shared_bytes
        self._next = 0.0
        self.peak_bytes = shared_bytes

    def share(self, n_bytes: int) -> None:
        """Count ``n_bytes`` more of shared memory; fewer where negative."""
        self._shared += n_bytes
        self.peak_bytes = max(self.peak_bytes, self._shared)

    def sample(self, *, now: bool = False) -> None:
        """Look at the processes, at most every few seconds unless ``now``."""
        if not now and time.monotonic() < self._next:
            return
        started = time.thread_time()
        me = psutil.Process()
        private = sum(_anonymous_bytes(process.pid) for process in (me, *me.children(recursive=True)))
        self.peak_bytes = max(self.peak_bytes, self._shared + private)
        self._next = time.monotonic() + max(_INTERVAL_S, (time.thread_time() - started) / _SHARE)


def _anonymous_bytes(pid: int) -> int:
    try:
        found = _ANONYMOUS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
