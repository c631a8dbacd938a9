"""The rehasher: fills the idle buffer of the tables and publishes it, while workers read the other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import EMPTY
from distlsh.lsh.biased import BiasedRows
from distlsh.lsh.frame import Frame
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.maintain import build, refresh
from distlsh.lsh.tables import Tables
from distlsh.protocol.messages import Rehashed, StartRehash, Stop
from distlsh.protocol.reports import Rehash
from distlsh.runtime.child import Link, log
from distlsh.runtime.layout import TableSet, all_tables
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
    """Writes the table buffers of all layers: the only one who does."""

    def __init__(self, setup: ChildSetup, arena: Arena, link: Link) -> None:
        self._link = link
        self._generation = arena["tables.generation"]
        self._slots = arena["runtime.slots"]
        seed = setup.config.train.seed
        sets = all_tables(setup.config, setup.n_features, setup.n_labels)
        self._layers = [LayerTables(one, arena, seed, link.beat) for one in sets]

    def refresh(self, full: bool, samples: int) -> Rehash:
        """Publish new tables of all layers; re-insert the rows marked dirty, or all.

        All if ``full``, or those of a layer whose rows have left the frame that they were hashed in.
        """
        started = time.perf_counter()
        generation = int(self._generation[0]) + 1
        self._wait_for_readers()
        waited = time.perf_counter() - started
        done = [layer.refresh(generation, full) for layer in self._layers]
        publish(self._generation, generation)
        n_codes = sum(one.rows * layer.n_tables for one, layer in zip(done, self._layers, strict=True))
        moved = sum(one.moved for one in done)
        return Rehash(
            generation=generation,
            samples=samples,
            rows=sum(one.rows for one in done),
            moved=moved,
            changed_share=moved / max(n_codes, 1),
            hash_s=time.perf_counter() - started - waited,
            wait_s=waited,
            full=any(one.rebuilt for one in done),
        )

    def _wait_for_readers(self) -> None:
        while not writable(self._generation, self._slots):
            self._link.beat()
            time.sleep(_POLL_S)


class Refreshed(NamedTuple):
    """What a refresh did to one layer's tables."""

    rows: int  # hashed
    moved: int  # codes that changed
    rebuilt: bool  # from all rows


class LayerTables:
    """The tables over one layer's rows, both buffers."""

    def __init__(self, tables: TableSet, arena: Arena, seed: int, beat: Callable[[], None]) -> None:
        self._rows: Any = arena[f"{tables.name}.weights"]  # or what is read like it
        if tables.bias:
            self._rows = BiasedRows(self._rows, arena[f"{tables.name}.bias"], tables.scale)
        self._dirty = arena[f"{tables.name}.dirty"]
        self._beat = beat
        self._frame = Frame(
            tables.n_rows, center=tables.settings.center, norms=tables.spec.transform != "none", seed=seed
        )
        self._seed = seed
        self._hasher = Hasher(tables.spec)
        self.n_tables = tables.spec.n_tables
        policy = tables.settings.bucket_policy
        self._buffers = [Tables(tables.arrays(arena), i, policy, seed) for i in (0, 1)]

    def refresh(self, generation: int, full: bool) -> Refreshed:
        """Fill the buffer of ``generation`` from the rows marked dirty, or from all."""
        idle, active = self._buffers[generation % 2], self._buffers[(generation - 1) % 2]
        if full:
            idle.codes[...] = EMPTY
        # A copy: workers mark rows meanwhile, and numpy counts the marks before it lists them.
        marked = np.flatnonzero(self._dirty.copy()).astype(np.int32)
        if full or not self._frame.fits(active, self._rows, marked):
            return self._rebuild(idle)
        idle.copy_from(active)
        moved = refresh(idle, self._hasher, self._rows, marked, before_rows=self._before_rows)
        return Refreshed(len(marked), moved, False)

    def _rebuild(self, idle: Tables) -> Refreshed:
        self._frame.take(idle, self._rows)
        moved = build(idle, self._hasher, self._rows, seed=self._seed, before_rows=self._before_rows)
        return Refreshed(idle.n_rows, moved, True)

    def _before_rows(self, ids: NDArray[np.int32]) -> None:
        clear_marks(self._dirty, ids)
        self._beat()
