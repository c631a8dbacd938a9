"""Reading one generation of the tables while the rehasher makes the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from distlsh.constants import EMPTY
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tables import N_BUFFERS, Tables
from distlsh.shm.generation import acquire, release


class TableReader:
    """A worker's access to the tables: a hasher, both buffers, and its reader slot.

    arrays      with the names of `table_specs`
    slots       i8[n_workers, 8], of which row ``worker`` is this reader's
    seam        called whenever the slot has been set: for whoever interrupts readers
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        slots: NDArray[Any],
        worker: int,
        spec: HashSpec,
        seam: Callable[[], None] | None = None,
    ) -> None:
        self.spec = spec
        self.hasher = Hasher(spec, one_by_one=False)  # a run compiles no kernels for odd batches
        self._buffers = [Tables(arrays, buffer) for buffer in range(N_BUFFERS)]
        self._generation = arrays["tables.generation"]
        self._slots = slots
        self._worker = worker
        self._seam = seam

    @property
    def bucket_size(self) -> int:
        """Ids that a bucket holds at most."""
        return self._buffers[0].bucket_size

    @contextmanager
    def tables(self) -> Iterator[Tables]:
        """Give the current tables; nobody writes to them within the `with` block.

        Within such a block of another reader of the same worker, it gives the same generation.
        """
        held = int(self._slots[self._worker, 0])  # nobody else writes there
        if held != EMPTY:
            yield self._buffers[held % N_BUFFERS]
            return
        generation = acquire(self._generation, self._slots, self._worker)
        try:
            if self._seam is not None:
                self._seam()
            yield self._buffers[generation % N_BUFFERS]
        finally:
            release(self._slots, self._worker)
