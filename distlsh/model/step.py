"""One training step of one worker: a batch through the network and back, in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from distlsh.config.schema import TrainConfig
from distlsh.errors import ShapeError
from distlsh.kernels.losses import BCE, SOFTMAX
from distlsh.kernels.output_layer import dense_output_step, output_step
from distlsh.kernels.random import sample_seeds, stream_seeds
from distlsh.model.conflicts import ConflictWatch
from distlsh.model.counters import N_COUNTERS, Counter
from distlsh.model.finite import OUTPUT, Found, Watch, explain_output
from distlsh.model.layers.choosers import Chooser
from distlsh.model.layers.stack import Stack
from distlsh.model.layers.state import Batch, Dense, Room, most_features
from distlsh.model.network import Instances, Network
from distlsh.model.spec import OPTIMIZER_CODES, Floats, Ids, Offsets, Seeds, optimizer_settings

if TYPE_CHECKING:
    from distlsh.model.pairs_output import PairsOutput


Part = Literal["forward", "output"]
"""What of a batch is done when its `TrainStep` calls its seam."""

LOSS_CODES = {"softmax": SOFTMAX, "bce": BCE}

_SELECT, _ROUND = 2, 3
"""Streams of a sample's randomness; the hidden layers have others."""


def _nothing(part: Part) -> None:
    pass


class Selector(Protocol):
    """Chooses the active neurons of a batch."""

    def select_batch(self, hidden: Floats, rows: Offsets, seeds: Seeds, active: Ids, bounds: Ids) -> None:
        """Write each sample's distinct active neurons and their places.

        hidden  f4[m, d], input of the output layer
        rows    i8[m], the instances
        seeds   u8[m], a random state a sample, free to be changed
        active  i4[m, cap], overwritten: labels, then retrieved neurons, then random ones
        bounds  i4[m, 3], overwritten: where each of the three kinds ends
        """


class TrainStep:
    """Trains ``network`` on batches of ``dataset``; owns all scratch memory that takes.

    A run of the same batches, rates and sample numbers by one worker repeats bit for bit: a
    sample's randomness comes from the seed and its number alone.
    """

    def __init__(
        self,
        network: Network,
        dataset: Instances,
        train: TrainConfig,
        *,
        n_active: int,
        selector: Selector | None = None,
        choosers: Mapping[int, Chooser] | None = None,
        counters: npt.NDArray[np.float64] | None = None,
        watch: ConflictWatch | None = None,
        seam: Callable[[Part], None] | None = None,
        non_finite: Watch | None = None,
    ) -> None:
        """Check that network and data fit, and allocate.

        n_active  budget of active outputs a sample; from ``n_labels`` on the output is dense
        selector  chooses them; needed where the output is not dense, unused where it is
        choosers  of hashed hidden layers, by their number; where one is missing its exact top is active
        counters  f8[N_COUNTERS], added to (see ``Counter``); a private one by default
        watch     counts conflicts on a sparse output after dense hidden layers
        non_finite  is told of samples that were left out
        seam      called between the parts of a batch, with the part before: for whoever interrupts steps

        Raises ShapeError where data and network do not fit or a selector is missing.
        """
        network.check_fits(dataset)
        network.check_trainable()
        self.network, self.dataset, self.train, self.selector = network, dataset, train, selector
        self.dense = n_active >= network.spec.n_labels
        if not self.dense and selector is None:
            raise ShapeError(f"{n_active} of {network.spec.n_labels} outputs active: needs a selector")
        self.watch = watch
        self.seam = seam or _nothing
        self._non_finite = non_finite or Watch()
        self.counters = np.zeros(N_COUNTERS) if counters is None else counters
        self.loss = LOSS_CODES[network.spec.loss]
        self.code = OPTIMIZER_CODES[network.spec.optimizer]
        self.hyper = optimizer_settings(train, self.code)
        room = Room(train.batch_size, True, self.code, self.hyper)
        most = most_features(network, dataset.indptr)
        self.stack = Stack(network, room, most_features=most, choosers=choosers)
        self._allocate(network.spec.n_labels, n_active)

    def _allocate(self, n_labels: int, n_active: int) -> None:
        batch = self.train.batch_size
        labels = np.diff(self.dataset.label_indptr)
        cap = n_labels if self.dense else max(n_active, int(labels.max(initial=0)))
        n_lists = 1 if self.dense else batch
        self.active: Ids = np.empty((n_lists, cap), np.int32)
        self.active[:] = np.arange(cap, dtype=np.int32)
        self.place: Ids = np.arange(cap if self.dense else 1, dtype=np.int32)
        self.bounds: Ids = np.zeros((batch, 3), np.int32)
        self.logits, self.kept = np.empty(cap, np.float32), np.empty(cap, np.int32)
        self.swapped: Ids = np.empty_like(self.place)
        self.seeds: Seeds = np.empty(batch, np.uint64)
        self.stream: Seeds = np.empty(batch, np.uint64)
        self.pairs = None if isinstance(self.stack.out, Dense) else self._pairs_output(cap)

    def _pairs_output(self, cap: int) -> PairsOutput:
        from distlsh.model.pairs_output import PairsOutput

        return PairsOutput(self, cap)

    def run(self, rows: Offsets, first_sample: int, lr: float, lr_input: float) -> None:
        """Train on a batch; add to the counters.

        rows          i8[m], instances, m in [1, batch_size]
        first_sample  number of the batch's first sample since the start of the training
        lr, lr_input  rates of all layers but the first, and of the first
        """
        if not 0 < len(rows) <= self.train.batch_size:
            raise ShapeError(f"a batch of {len(rows)} rows; train.batch_size is {self.train.batch_size}")
        step = 1 + first_sample // self.train.batch_size
        sample_seeds(self.train.seed, first_sample, self.seeds[: len(rows)])
        data, states = self.dataset, self.seeds[: len(rows)]
        batch = Batch(data.indptr, data.indices, data.values, rows, states, lr, lr_input, step)
        while not self.stack.forward(batch):
            batch = self._without_bad(batch)
            if not batch.size:
                return
        self.seam("forward")
        self._output(batch)
        self.seam("output")
        self.stack.backward(batch)
        if batch.found:
            self.counters[Counter.NON_FINITE] += len(batch.found)
            self._note(batch, batch.found)
        self._count(batch)

    def _output(self, batch: Batch) -> None:
        counters = self.counters
        places = (Counter.ACTIVE, Counter.ROWS_UPDATED, Counter.NON_FINITE)
        active, kept, bad = (counters[place] for place in places)
        if self.pairs is None:
            self._train_output(batch.rows, batch.lr, batch.step)
            n_active, n_kept = counters[Counter.ACTIVE] - active, counters[Counter.ROWS_UPDATED] - kept
            counters[Counter.MACS] += (n_active + 2 * n_kept) * self.network.spec.width
        else:
            self.pairs.train(batch.rows, batch.lr, batch.step)
        if counters[Counter.NON_FINITE] != bad:
            self._drop_marked(batch)

    def _without_bad(self, batch: Batch) -> Batch:
        """Return the batch without the samples at which the forward pass stopped: they change nothing."""
        found = self.stack.found(batch)
        self.counters[[Counter.SAMPLES, Counter.NON_FINITE]] += len(found)
        self._note(batch, found)
        left = np.delete(np.arange(batch.size), [one.place for one in found])
        states = self.seeds[: len(left)]
        states[:] = batch.states[left]
        return replace(batch, rows=batch.rows[left], states=states)

    def _drop_marked(self, batch: Batch) -> None:
        """Take away the gradients of samples whose loss, or whose gradient's length, is not finite."""
        for place, delta in self.stack.out.marked(batch.size):
            delta[:] = 0.0
            if self._non_finite.wants(OUTPUT):
                ids = self._active_of(place, batch)
                self._note(batch, [Found(place, *explain_output(self.network, ids))])

    def _active_of(self, place: int, batch: Batch) -> Ids:
        if self.pairs is not None:
            return self.pairs.active_of(place)
        return self.active[0] if self.dense else self.active[place, : self.bounds[place, 2]]

    def _note(self, batch: Batch, found: list[Found]) -> None:
        for one in found:
            self._non_finite.note(batch.rows[one.place], one.layer, one.what)

    def selection_seeds(self, m: int) -> Seeds:
        """Return the random states of the batch's active outputs, u8[m], in scratch."""
        return self._seeds(m, _SELECT)

    def rounding_seeds(self, m: int) -> Seeds:
        """Return the random states of the batch's rounded gradients, u8[m], in scratch."""
        return self._seeds(m, _ROUND)

    def _seeds(self, m: int, stream: int) -> Seeds:
        stream_seeds(self.seeds[:m], stream, self.stream[:m])
        return self.stream[:m]

    def _train_output(self, rows: Offsets, lr: float, step: int) -> None:
        spec, m, data = self.network.spec, len(rows), self.dataset
        assert isinstance(self.stack.out, Dense)
        hidden, delta = self.stack.out.values[:m], self.stack.out.delta[:m]
        loss, scale, tau = self.loss, spec.logit_scale, self.train.skip_below
        layer = (*self.network.output.views, *self.network.output_bias.views, spec.bias, self.network.dirty)
        rate = (lr, self.hyper, step)
        scratch = (self.logits, self.kept, delta, self.counters)
        if self.dense:
            lists = (data.label_indptr, data.labels, rows, self.active, self.place, self.swapped)
            seeds = self.rounding_seeds(m)
            dense_output_step(*lists, hidden, seeds, loss, scale, tau, self.code, *layer, *rate, *scratch)
            return
        active, bounds = self.active[:m], self.bounds[:m]
        assert self.selector is not None
        self.selector.select_batch(hidden, rows, self.selection_seeds(m), active, bounds)
        if self.watch is not None:
            self.watch.enter(active, bounds, self.counters)
        seeds = self.rounding_seeds(m)
        output_step(
            active, bounds, hidden, seeds, loss, spec.log_q, scale, tau, self.code, *layer, *rate, *scratch
        )
        if self.watch is not None:
            self.watch.leave(active, bounds)

    def _count(self, batch: Batch) -> None:
        spec, counters = self.network.spec, self.counters
        for macs in self.stack.macs(batch):
            counters[Counter.MACS] += macs.done
            counters[Counter.DENSE_MACS] += macs.dense
            if macs.hashed:
                counters[Counter.HASHED_MACS] += macs.done
                counters[Counter.HASHED_DENSE_MACS] += macs.dense
        counters[Counter.DENSE_MACS] += 3 * batch.size * spec.n_labels * spec.width
        counters[Counter.BATCHES] += 1
