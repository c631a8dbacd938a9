"""The rehasher: fills the idle buffer of the tables and publishes it, while workers read the other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distlsh.config.schema import LshConfig
from distlsh.constants import EMPTY
from distlsh.data.store import open_store
from distlsh.lsh.biased import BiasedRows
from distlsh.lsh.frame import Frame
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.maintain import build, refresh, worth_hashing
from distlsh.lsh.tables import Tables
from distlsh.model.network import Network
from distlsh.model.spec import NetworkSpec
from distlsh.model.storage import readable
from distlsh.protocol.messages import Chosen, Rehashed, StartRehash, StartTuning, Stop, UseTables
from distlsh.protocol.reports import Rehash, Tuned
from distlsh.runtime.child import Link, log
from distlsh.runtime.chosen import Arrays, AttachedTables
from distlsh.runtime.failpoints import Point, failpoint, line_of
from distlsh.runtime.layout import TableSet, all_tables
from distlsh.runtime.setup import ChildSetup
from distlsh.shm.arena import Arena
from distlsh.shm.generation import clear_marks, publish, writable

_POLL_S = 0.0005


def serve(setup: ChildSetup, arena: Arena, link: Link) -> None:
    """Do what the coordinator asks for, until it says stop."""
    rehasher, line = Rehasher(setup, arena, link), line_of(arena, setup.role)
    failpoint(line, Point.HELLO)
    link.hello()
    while True:
        match link.receive():
            case StartRehash(full, samples):
                report = rehasher.refresh(full, samples)
                log(
                    f"generation {report.generation}: {report.rows} rows, {report.moved} codes moved, "
                    f"{report.overflow_share:.2%} of ids without room"
                )
                link.metric(report)
                link.answer(Rehashed(role=link.role, pid=os.getpid(), report=report))
            case UseTables() as message:
                rehasher.use_tables(message)
            case StartTuning() as message:
                lsh, tuned = rehasher.choose(message)
                log(f"chose {lsh.family}: recall {tuned.recall:.3f} in {tuned.tune_s:.1f} s")
                link.metric(tuned)
                link.answer(Chosen(role=link.role, pid=os.getpid(), lsh=lsh, report=tuned))
            case Stop():
                failpoint(line, Point.STOP)
                return
            case _:
                pass


class Rehasher:
    """Writes the table buffers of all layers: the only one who does."""

    def __init__(self, setup: ChildSetup, arena: Arena, link: Link) -> None:
        self._setup = setup
        self._link = link
        self._arena = arena
        self._line = line_of(arena, setup.role)
        self._generation = arena["tables.generation"]
        self._slots = arena["runtime.slots"]
        self._tables = AttachedTables(setup.config, setup.n_labels, arena)
        self._layers = self._all_layers()

    def _all_layers(self) -> list[LayerTables]:
        setup, tables = self._setup, self._tables
        sets = all_tables(tables.config, setup.n_features, setup.n_labels)
        return [LayerTables(one, tables.arrays, setup.config.train.seed, self._between_rows) for one in sets]

    def _between_rows(self) -> None:
        failpoint(self._line, Point.ROWS)
        self._link.beat()

    def use_tables(self, message: UseTables) -> None:
        """Write the output's tables where ``message`` says, from now on."""
        self._layers = []  # they hold arrays of the tables before
        self._tables.attach(message)
        self._layers = self._all_layers()

    def choose(self, message: StartTuning) -> tuple[LshConfig, Tuned]:
        """Choose the output's hash functions; no worker is at work."""
        from distlsh.runtime.tuner import choose

        failpoint(self._line, Point.TUNE)
        setup = self._setup
        spec = NetworkSpec.from_config(setup.config, setup.n_features, setup.n_labels)
        train = open_store(Path(setup.train_store)).with_sizes(setup.n_features, setup.n_labels)
        return choose(setup, Network(spec, self._arena), train, self._link, message)

    def refresh(self, full: bool, samples: int) -> Rehash:
        """Publish new tables of all layers; re-insert the rows marked dirty, or all.

        All if ``full``, or those of a layer whose rows have left the frame that they were hashed in.
        """
        failpoint(self._line, Point.REHASH)
        started, cpu = time.perf_counter(), time.process_time()
        generation = int(self._generation[0]) + 1
        self._wait_for_readers()
        waited = time.perf_counter() - started
        done = [layer.refresh(generation, full) for layer in self._layers]
        failpoint(self._line, Point.PUBLISH_BEFORE)
        publish(self._generation, generation)
        failpoint(self._line, Point.PUBLISH_AFTER)
        n_codes = sum(one.rows * layer.n_tables for one, layer in zip(done, self._layers, strict=True))
        moved = sum(one.moved for one in done)
        seen = sum(one.seen for one in done)
        return Rehash(
            generation=generation,
            samples=samples,
            rows=sum(one.rows for one in done),
            moved=moved,
            changed_share=moved / max(n_codes, 1),
            hash_s=time.perf_counter() - started - waited,
            wait_s=waited,
            cpu_s=time.process_time() - cpu,
            full=any(one.rebuilt for one in done),
            overflow_share=(seen - sum(one.held for one in done)) / max(seen, 1),
        )

    def _wait_for_readers(self) -> None:
        while not writable(self._generation, self._slots):
            failpoint(self._line, Point.READERS)
            self._link.beat()
            time.sleep(_POLL_S)


class Refreshed(NamedTuple):
    """What a refresh did to one layer's tables."""

    rows: int  # hashed
    moved: int  # codes that changed
    rebuilt: bool  # from all rows
    held: int  # ids, summed over tables
    seen: int  # ids that belong to buckets, held or not


class LayerTables:
    """The tables over one layer's rows, both buffers."""

    def __init__(self, tables: TableSet, arena: Arrays, seed: int, beat: Callable[[], None]) -> None:
        self._rows: Any = readable(arena[f"{tables.name}.weights"])
        if tables.bias:
            self._rows = BiasedRows(self._rows, arena[f"{tables.name}.bias"], tables.scale)
        self._dirty = arena[f"{tables.name}.dirty"]
        self._beat = beat
        self._frame = Frame(
            tables.n_rows, center=tables.settings.center, norms=tables.spec.transform != "none", seed=seed
        )
        self._seed = seed
        self._hasher = Hasher(tables.spec, one_by_one=False)
        self.n_tables = tables.spec.n_tables
        policy = tables.settings.bucket_policy
        self._buffers = [Tables(tables.arrays(arena), i, policy, seed) for i in (0, 1)]

    def refresh(self, generation: int, full: bool) -> Refreshed:
        """Fill the buffer of ``generation`` from the rows marked dirty, or from all."""
        idle, active = self._buffers[generation % 2], self._buffers[(generation - 1) % 2]
        if full:
            idle.codes[...] = EMPTY
        marked = worth_hashing(self._dirty)
        if full or not self._frame.fits(active, self._rows, marked):
            return self._rebuild(idle)
        idle.copy_from(active)
        moved = refresh(idle, self._hasher, self._rows, marked, before_rows=self._before_rows)
        return Refreshed(len(marked), moved, False, *idle.counts())

    def _rebuild(self, idle: Tables) -> Refreshed:
        self._frame.take(idle, self._rows)
        moved = build(idle, self._hasher, self._rows, seed=self._seed, before_rows=self._before_rows)
        return Refreshed(idle.n_rows, moved, True, *idle.counts())

    def _before_rows(self, ids: NDArray[np.int32]) -> None:
        clear_marks(self._dirty, ids)
        self._beat()
