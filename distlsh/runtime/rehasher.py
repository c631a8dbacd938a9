"""The rehasher: fills the idle buffer of the tables and publishes it, while workers read the other."""

from __future__ import annotations

import os
import time

import numpy as np
from numpy.typing import NDArray

from distlsh.lsh.hasher import Hasher
from distlsh.lsh.tables import Tables
from distlsh.protocol.messages import Rehashed, StartRehash, Stop
from distlsh.protocol.reports import Rehash
from distlsh.runtime.child import Link, log, run_child
from distlsh.runtime.layout import hash_spec
from distlsh.runtime.setup import ChildSetup
from distlsh.shm.arena import Arena
from distlsh.shm.generation import oldest_in_use, publish

_BLOCK = 4096
_POLL_S = 0.0005


def main(packed: bytes) -> None:
    """Entry of the rehasher's process."""
    run_child(packed, _serve)


def _serve(setup: ChildSetup, arena: Arena, link: Link) -> None:
    rehasher = Rehasher(setup, arena, link)
    link.hello()
    while True:
        match link.receive():
            case StartRehash(full, samples):
                report = rehasher.refresh(full, samples)
                log(f"generation {report.generation}: {report.rows} rows, {report.moved} codes moved")
                link.metric(report)
                link.answer(Rehashed(role=link.role, pid=os.getpid(), report=report))
            case Stop():
                return
            case _:
                pass


class Rehasher:
    """Writes the table buffers: the only one who does."""

    def __init__(self, setup: ChildSetup, arena: Arena, link: Link) -> None:
        lsh = setup.config.lsh
        self._arena = arena
        self._link = link
        self._weights = arena["output.weights"]
        self._dirty = arena["output.dirty"]
        self._codes = arena["tables.codes"]
        self._generation = arena["tables.generation"]
        self._slots = arena["runtime.slots"]
        self._center = lsh.center
        self._seed = setup.config.train.seed
        self._hasher = Hasher(hash_spec(setup.config))
        self._buffers = [Tables(arena, i, lsh.bucket_policy, setup.config.train.seed) for i in (0, 1)]

    def refresh(self, full: bool, samples: int) -> Rehash:
        """Publish a new generation; re-insert the rows marked dirty, or all if ``full``."""
        started = time.perf_counter()
        generation = int(self._generation[0]) + 1
        self._wait_for_readers(generation - 2)
        waited = time.perf_counter() - started
        idle, active = self._buffers[generation % 2], self._buffers[(generation - 1) % 2]
        if full:
            rows, moved = self._rebuild(idle)
        else:
            idle.copy_from(active)
            rows, moved = self._move_dirty(idle, generation)
        publish(self._generation, generation)
        return Rehash(
            generation=generation,
            samples=samples,
            rows=rows,
            moved=moved,
            changed_share=moved / max(rows * self._codes.shape[1], 1),
            hash_s=time.perf_counter() - started - waited,
            wait_s=waited,
            full=full,
        )

    def _wait_for_readers(self, generation: int) -> None:
        while 0 <= oldest_in_use(self._slots) <= generation:
            self._link.beat()
            time.sleep(_POLL_S)

    def _rebuild(self, idle: Tables) -> tuple[int, int]:
        center = self._arena["tables.center"]
        center[:] = self._weights.mean(axis=0, dtype=np.float64) if self._center else 0.0
        idle.clear()
        n_rows = len(self._codes)
        self._dirty[:] = 0
        for first in range(0, n_rows, _BLOCK):
            last = min(first + _BLOCK, n_rows)
            self._hasher.codes(self._weights[first:last], self._codes[first:last], center[0])
            self._link.beat()
        # In id order, full buckets would always drop the same low ids.
        order = np.random.default_rng(self._seed).permutation(n_rows).astype(np.int32)
        for first in range(0, n_rows, _BLOCK):
            ids = order[first : first + _BLOCK]
            idle.insert(ids, self._codes[ids])
            self._link.beat()
        return n_rows, n_rows * self._codes.shape[1]

    def _move_dirty(self, idle: Tables, generation: int) -> tuple[int, int]:
        marked = np.flatnonzero(self._dirty).astype(np.int32)
        moved = 0
        for first in range(0, len(marked), _BLOCK):
            moved += self._move(idle, marked[first : first + _BLOCK])
            self._link.beat()
        return len(marked), moved

    def _move(self, idle: Tables, ids: NDArray[np.int32]) -> int:
        self._dirty[ids] = 0  # before reading the rows: a later update marks them again
        new = np.empty((len(ids), self._codes.shape[1]), np.int32)
        self._hasher.codes(self._weights[ids], new, self._arena["tables.center"][0])
        moved = int(idle.move(ids, self._codes[ids], new))
        self._codes[ids] = new
        return moved
