"""A worker: one process on one core that does the tasks it is handed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from distlsh.constants import ROW_BLOCK, SPARSE_BLOCK
from distlsh.data.dataset import Dataset
from distlsh.data.store import open_store
from distlsh.errors import ProtocolError
from distlsh.evaluation.evaluate import evaluate_rows
from distlsh.evaluation.propensity import inv_propensity
from distlsh.evaluation.sums import EvalSums
from distlsh.lsh.reader import TableReader
from distlsh.model.conflicts import HOLDERS, ConflictWatch
from distlsh.model.counters import Counter
from distlsh.model.finite import Finding, Watch
from distlsh.model.initialise import initialise, reset_states, warm_start_add, warm_start_finish
from distlsh.model.layers.choosers import Chooser
from distlsh.model.network import Network
from distlsh.model.pretrain import PretrainStep
from distlsh.model.schedule import lr_at, lr_input_at, pretrain_lr_at
from distlsh.model.selector import LshSelector
from distlsh.model.spec import NetworkSpec
from distlsh.model.step import Part, TrainStep
from distlsh.protocol.messages import Assign, Stop, Task, UseTables, WorkerMetrics
from distlsh.runtime.child import Link, log
from distlsh.runtime.chosen import AttachedTables
from distlsh.runtime.eval_rows import evaluation_rows
from distlsh.runtime.failpoints import Point, failpoint, line_of
from distlsh.runtime.layout import hidden_tables, output_tables
from distlsh.runtime.setup import ChildSetup
from distlsh.runtime.visits import VISITS
from distlsh.shm.arena import Arena

_LEAST_BLOCK = 16
_BLOCK_MACS = 10**11
"""Multiply-adds between two heartbeats of an evaluation, and two looks for its end: a second or two.

Fewer cost: each block reads all output rows.  Two fifths took 18% longer for 220,084 of them, 1024 wide.
"""


class _HandedBack(Exception):
    """The coordinator wants the task in hand back."""


def serve(setup: ChildSetup, arena: Arena, link: Link) -> None:
    """Do what the coordinator asks for, until it says stop."""
    worker, line = Worker(setup, arena, link), line_of(arena, setup.role)
    failpoint(line, Point.HELLO)
    link.hello()
    log("ready")
    while True:
        match link.receive():
            case Assign(task):
                result = worker.do(task)
                failpoint(line, Point.TASK_DONE)
                link.done(task.id, result, worker.upto)
            case UseTables() as message:
                worker.use_tables(message)
            case Stop():
                failpoint(line, Point.STOP)
                return
            case _:
                pass


class Worker:
    """The state of one worker: its view of the network, its scratch, its places in the shared arrays."""

    def __init__(self, setup: ChildSetup, arena: Arena, link: Link) -> None:
        config = setup.config
        self._setup = setup
        self._config = config
        self._arena = arena
        self._link = link
        self.upto: int | None = None
        self._train = _open(setup, setup.train_store)
        self._test = _open(setup, setup.test_store) if setup.test_store else None
        self._network = Network(NetworkSpec.from_config(config, setup.n_features, setup.n_labels), arena)
        self._counters = arena["runtime.counters"][setup.index]
        self._line = line_of(arena, setup.role)
        self._tables = AttachedTables(config, setup.n_labels, arena)
        self._reader = self._output_reader()
        self._lsh_choosers = _choosers(setup, arena, SPARSE_BLOCK)
        self._task_id = -1
        self._non_finite = Watch(self._tell_non_finite)
        self._pretrain: PretrainStep | None = None
        self._step: TrainStep | None = None
        self._counts: NDArray[np.int64] | None = None
        self._inverse: NDArray[np.float32] | None = None

    def use_tables(self, message: UseTables) -> None:
        """Read the output's tables from where ``message`` says, from now on."""
        self._reader = self._step = None  # they hold arrays of the tables before
        self._tables.attach(message)
        self._reader = self._output_reader()

    def do(self, task: Task) -> bytes:
        """Do ``task`` and return its packed result, if it has one; ProtocolError for rows that are not.

        ``upto`` tells where it ended, if that was before its last.
        """
        self._check_range(task)
        seed = self._config.train.seed
        self._task_id = task.id
        self._non_finite.begin()
        self.upto = None
        if task.kind != "pretrain":
            self._pretrain = None  # its scratch is not needed any more
        match task.kind:
            case "init":
                failpoint(self._line, Point.INIT)
                initialise(self._network, seed, task.first, self._setup.init_parts, layers="hidden")
                if self._config.pretrain.epochs:
                    self._reset_states(task.first, self._config.pretrain.adagrad_init)
            case "pretrain":
                self._pretrain_chunk(task)
            case "init_output":
                failpoint(self._line, Point.INIT)
                warm, parts = self._config.model.warm_start, self._setup.init_parts
                initialise(self._network, seed, task.first, parts, warm_start=warm, layers="output")
                if self._config.pretrain.epochs:
                    self._reset_states(task.first, self._config.train.adagrad_init)
            case "warm_start":
                for rows in self._blocks(np.arange(task.first, task.last)):
                    failpoint(self._line, Point.WARM_START)
                    warm_start_add(self._network, self._train, rows, self._non_finite)
            case "warm_finish":
                failpoint(self._line, Point.WARM_START)
                warm_start_finish(self._network, self._label_counts(), seed, task.first, task.last)
            case "train":
                self._train_chunk(task)
            case "evaluate_subset":
                return self._evaluate(task, self._config.eval.n_rows)
            case "evaluate_final":
                return self._evaluate(task, self._config.eval.final_rows)
            case other:
                raise ProtocolError(f"a task of unknown kind {other!r}")
        return b""

    def _check_range(self, task: Task) -> None:
        """Kernels take rows, labels and parts as they come: nothing beyond what there is may reach them."""
        parts, labels, rows = self._setup.init_parts, self._setup.n_labels, self._train.n_rows
        held = {"init": parts, "init_output": parts, "warm_finish": labels}.get(task.kind, rows)
        if task.kind.startswith("evaluate"):
            held = 0 if self._test is None else self._test.n_rows
        if not 0 <= task.first <= task.last <= held:
            raise ProtocolError(f"a task {task.kind} of [{task.first}, {task.last}), but there are {held}")

    def _eval_block(self) -> int:
        """Return the rows of a block: as BLAS likes it, but done before a heartbeat is missed."""
        row_macs = self._setup.n_labels * self._config.model.hidden[-1]
        return max(_LEAST_BLOCK, min(ROW_BLOCK, _BLOCK_MACS // row_macs))

    def _blocks(self, rows: NDArray[np.int64], size: int = ROW_BLOCK) -> Iterator[NDArray[np.int64]]:
        for first in range(0, len(rows), size):
            yield rows[first : first + size]
            self._link.beat()

    def _reset_states(self, part: int, adagrad_init: float) -> None:
        reset_states(self._network, self._network.layers, part, self._setup.init_parts, adagrad_init)

    def _pretrain_chunk(self, task: Task) -> None:
        started, loss = time.perf_counter(), self._counters[Counter.PRETRAIN_LOSS]
        if self._pretrain is None:
            settings = (self._config.pretrain, self._config.train)
            self._pretrain = PretrainStep(
                self._network, self._train, *settings, counters=self._counters, non_finite=self._non_finite
            )
            self._link.beat()
        rows = self._arena["runtime.order"][task.first : task.last]
        samples = (task.first_sample, task.first_sample + len(rows))
        n, scale = self._train.n_rows, task.lr_scale
        lr, last = (scale * pretrain_lr_at(self._config.pretrain, at, n) for at in samples)
        try:
            self._pretrain.run(rows, task.first_sample, lr, last, self._between_pretraining)
        except _HandedBack:  # its batches are no ranges of rows: all of it is left
            self.upto = task.first
        self._tell(task, started, float(self._counters[Counter.PRETRAIN_LOSS] - loss))

    def _between_pretraining(self) -> None:
        failpoint(self._line, Point.PRETRAIN)
        self._link.beat()
        if self._link.hand_back:
            raise _HandedBack

    def _train_chunk(self, task: Task) -> None:
        started, cpu = time.perf_counter(), time.thread_time()
        loss = self._counters[Counter.LOSS]
        step, train, total = self._train_step(), self._config.train, self._setup.total_samples
        order, line, visits = self._arena["runtime.order"], self._line, self._arena.get(VISITS)
        failpoint(line, Point.CHUNK)
        for first in range(task.first, task.last, train.batch_size):
            rows = order[first : min(first + train.batch_size, task.last)]
            sample = task.first_sample + first - task.first
            rates = lr_at(train, sample, total), lr_input_at(train, sample, total)
            step.run(rows, sample, task.lr_scale * rates[0], task.lr_scale * rates[1])
            if visits is not None:
                visits[rows] += 1  # an epoch's rows are distinct, and no other worker has these
            failpoint(line, Point.STEP)
            self._link.beat()
            if self._link.hand_back:
                self.upto = min(first + train.batch_size, task.last)
                break
        self._counters[Counter.CPU_S] += time.thread_time() - cpu
        self._tell(task, started, float(self._counters[Counter.LOSS] - loss))

    def _tell(self, task: Task, started: float, loss_sum: float) -> None:
        self._link.metric(
            WorkerMetrics(
                role=self._setup.role,
                task_id=task.id,
                samples=(task.last if self.upto is None else self.upto) - task.first,
                busy_s=round(time.perf_counter() - started, 4),
                loss_sum=loss_sum,
            )
        )

    def _train_step(self) -> TrainStep:
        if self._step is None:
            self._step = TrainStep(
                self._network,
                self._train,
                self._config.train,
                n_active=self._config.lsh.n_active,
                selector=self._selector(),
                choosers=_choosers(self._setup, self._arena, self._config.train.batch_size),
                counters=self._counters,
                watch=self._watch(),
                seam=self._within_step,
                non_finite=self._non_finite,
            )
        return self._step

    def _tell_non_finite(self, found: Finding) -> None:
        log(f"left out instance {found.instance}: {found.layer}: {found.what}")
        self._link.non_finite(self._task_id, *found)

    def _within_step(self, part: Part) -> None:
        failpoint(self._line, Point.FORWARD if part == "forward" else Point.BACKWARD)

    def _watch(self) -> ConflictWatch | None:
        if HOLDERS not in self._arena:
            return None
        return ConflictWatch(self._arena[HOLDERS], self._setup.index)

    def _selector(self) -> LshSelector | None:
        if self._reader is None:
            return None
        return LshSelector(
            self._reader,
            self._train,
            n_labels=self._setup.n_labels,
            n_active=self._config.lsh.n_active,
            n_random=self._config.lsh.n_random,
            batch=self._config.train.batch_size,
            sampling=self._config.lsh.sampling,
            min_hits=self._config.lsh.min_hits,
            pool=self._config.lsh.pool,
        )

    def _output_reader(self) -> TableReader | None:
        tables = output_tables(self._tables.config, self._setup.n_labels)
        if tables is None:
            return None
        slots = self._arena["runtime.slots"]
        arrays, index = tables.arrays(self._tables.arrays), self._setup.index
        return TableReader(arrays, slots, index, tables.spec, self._while_reading)

    def _while_reading(self) -> None:
        failpoint(self._line, Point.READING)

    def _label_counts(self) -> NDArray[np.int64]:
        if self._counts is None:
            self._counts = self._train.label_counts()
        return self._counts

    def _inverse_propensity(self) -> NDArray[np.float32]:
        if self._inverse is None:
            settings = self._config.eval
            self._inverse = inv_propensity(
                self._label_counts(), self._train.n_rows, settings.propensity_a, settings.propensity_b
            )
        return self._inverse

    def _evaluate(self, task: Task, n_rows: int) -> bytes:
        assert self._test is not None
        rows = evaluation_rows(self._test.n_rows, n_rows, self._config.train.seed)[task.first : task.last]
        sums = EvalSums()
        for block in self._blocks(rows, self._eval_block()):
            if self._link.hand_back:  # those of a part are no evaluation
                self.upto = task.first
                return b""
            failpoint(self._line, Point.EVALUATE)
            sums += self._evaluate_block(self._test, block)
        return msgspec.msgpack.encode(sums)

    def _evaluate_block(self, test: Dataset, rows: NDArray[np.int64]) -> EvalSums:
        inverse = self._inverse_propensity()
        if not self._config.eval.lsh:
            return evaluate_rows(self._network, None, None, test, rows, inverse)
        if self._reader is None:
            return evaluate_rows(self._network, None, None, test, rows, inverse, self._lsh_choosers)
        with self._reader.tables() as tables:
            hasher = self._reader.hasher
            return evaluate_rows(self._network, hasher, tables, test, rows, inverse, self._lsh_choosers)


def _choosers(setup: ChildSetup, arena: Arena, batch: int) -> dict[int, Chooser]:
    """Return what chooses the hashed hidden layers' neurons, for batches of this size."""
    spec = NetworkSpec.from_config(setup.config, setup.n_features, setup.n_labels)
    if not spec.hashed:
        return {}
    from distlsh.model.layers.tables import hidden_choosers

    sets = {one.layer: one for one in hidden_tables(setup.config, setup.n_features) if one.layer is not None}
    slots = arena["runtime.slots"]
    readers = {i: TableReader(one.arrays(arena), slots, setup.index, one.spec) for i, one in sets.items()}
    return hidden_choosers(spec, setup.config.lsh.hidden, readers, batch)


def _open(setup: ChildSetup, path: str) -> Dataset:
    return open_store(Path(path)).with_sizes(setup.n_features, setup.n_labels)
