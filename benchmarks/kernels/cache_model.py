"""Which rows a step must fetch from memory: a cache that forgets what was used longest ago."""

from __future__ import annotations

from collections import OrderedDict


class CacheModel:
    """A fully associative cache of ``capacity`` bytes over whole rows.

    A row that is not held is fetched; one that was changed is written back when it is
    forgotten.  Both are booked to the phase that caused them: the reader, and the last writer.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity, self._held = capacity, 0
        self._rows: OrderedDict[int, tuple[int, str | None]] = OrderedDict()
        self.touched: dict[str, int] = {}
        self.moved: dict[str, int] = {}

    def use(self, key: int, n_bytes: int, phase: str, write: bool = False) -> None:
        """Let ``phase`` read the row ``key`` of ``n_bytes``, or read and write it."""
        self.touched[phase] = self.touched.get(phase, 0) + n_bytes * (2 if write else 1)
        before = self._rows.pop(key, None)
        if before is None:
            self._held += n_bytes
            self._book(phase, n_bytes)
        writer = phase if write else before[1] if before else None
        self._rows[key] = (n_bytes, writer)
        while self._held > self._capacity:
            _, (size, last_writer) = self._rows.popitem(last=False)
            self._held -= size
            if last_writer is not None:
                self._book(last_writer, size)

    def start_counting(self) -> None:
        """Forget the counts, not the rows."""
        self.touched, self.moved = {}, {}

    def _book(self, phase: str, n_bytes: int) -> None:
        self.moved[phase] = self.moved.get(phase, 0) + n_bytes
