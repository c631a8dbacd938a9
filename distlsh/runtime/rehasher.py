"""The rehasher: fills the idle buffer of the tables and publishes it, while workers read the other."""

from __future__ import annotations

import os
import time

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import EMPTY
from distlsh.lsh.frame import Frame
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.maintain import build, refresh
from distlsh.lsh.tables import Tables
from distlsh.protocol.messages import Rehashed, StartRehash, Stop
from distlsh.protocol.reports import Rehash
from distlsh.runtime.child import Link, log
from distlsh.runtime.layout import hash_spec
from distlsh.runtime.setup import ChildSetup
from distlsh.shm.arena import Arena
from distlsh.shm.generation import clear_marks, publish, writable

_POLL_S = 0.0005


def serve(setup: ChildSetup, arena: Arena, link: Link) -> None:
    """Do what the coordinator asks for, until it says stop."""
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
        self._link = link
        self._weights = arena["output.weights"]
        self._dirty = arena["output.dirty"]
        self._generation = arena["tables.generation"]
        self._slots = arena["runtime.slots"]
        self._seed = setup.config.train.seed
        self._frame = Frame(len(self._weights), center=lsh.center, seed=self._seed)
        self._hasher = Hasher(hash_spec(setup.config))
        self._n_tables = hash_spec(setup.config).n_tables
        self._buffers = [Tables(arena, i, lsh.bucket_policy, setup.config.train.seed) for i in (0, 1)]

    def refresh(self, full: bool, samples: int) -> Rehash:
        """Publish a new generation; re-insert the rows marked dirty, or all.

        All if ``full``, or if the rows have left the frame that they were hashed in.
        """
        started = time.perf_counter()
        generation = int(self._generation[0]) + 1
        self._wait_for_readers()
        waited = time.perf_counter() - started
        idle, active = self._buffers[generation % 2], self._buffers[(generation - 1) % 2]
        if full:
            idle.codes[...] = EMPTY
        rebuilt = full or not self._frame.fits(active, self._weights)
        if rebuilt:
            rows, moved = self._rebuild(idle)
        else:
            idle.copy_from(active)
            # A copy: workers mark rows meanwhile, and numpy counts the marks before it lists them.
            marked = np.flatnonzero(self._dirty.copy()).astype(np.int32)
            rows = len(marked)
            moved = refresh(idle, self._hasher, self._weights, marked, before_rows=self._before_rows)
        publish(self._generation, generation)
        return Rehash(
            generation=generation,
            samples=samples,
            rows=rows,
            moved=moved,
            changed_share=moved / max(rows * self._n_tables, 1),
            hash_s=time.perf_counter() - started - waited,
            wait_s=waited,
            full=rebuilt,
        )

    def _wait_for_readers(self) -> None:
        while not writable(self._generation, self._slots):
            self._link.beat()
            time.sleep(_POLL_S)

    def _rebuild(self, idle: Tables) -> tuple[int, int]:
        self._frame.take(idle, self._weights)
        moved = build(idle, self._hasher, self._weights, seed=self._seed, before_rows=self._before_rows)
        return idle.n_rows, moved

    def _before_rows(self, ids: NDArray[np.int32]) -> None:
        clear_marks(self._dirty, ids)
        self._link.beat()
