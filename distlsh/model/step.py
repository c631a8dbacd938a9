"""One training step of one worker: a batch through the network and back, in place."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from distlsh.config.schema import TrainConfig
from distlsh.errors import ShapeError
from distlsh.kernels.dropout import dropout_forward
from distlsh.kernels.hidden_layer import (
    activation_backward,
    activation_forward,
    column_sums,
    multiply,
    normalize_backward,
    normalize_forward,
)
from distlsh.kernels.input_layer import input_backward, input_forward
from distlsh.kernels.optim import ADAM, update_rows
from distlsh.kernels.output_layer import BCE, SOFTMAX, dense_output_step, output_step
from distlsh.kernels.random import sample_seeds, stream_seeds
from distlsh.model.counters import N_COUNTERS, Counter
from distlsh.model.network import Block, Instances, Network
from distlsh.model.spec import OPTIMIZER_CODES, Floats, Ids, Offsets, Seeds

LOSS_CODES = {"softmax": SOFTMAX, "bce": BCE}

_INPUT_DROPOUT, _SELECT, _ROUND, _DROPOUT = 1, 2, 3, 16
"""Streams of a sample's randomness; hidden layer i has stream _DROPOUT + i."""


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
        counters: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Check that network and data fit, and allocate.

        n_active  budget of active outputs a sample; from ``n_labels`` on the output is dense
        selector  chooses them; needed where the output is not dense, unused where it is
        counters  f8[N_COUNTERS], added to (see ``Counter``); a private one by default

        Raises ShapeError where data and network do not fit or a selector is missing.
        """
        network.check_fits(dataset)
        network.check_trainable()
        self.network, self.dataset, self.train, self.selector = network, dataset, train, selector
        self.dense = n_active >= network.spec.n_labels
        if not self.dense and selector is None:
            raise ShapeError(f"{n_active} of {network.spec.n_labels} outputs active: needs a selector")
        self.counters = np.zeros(N_COUNTERS) if counters is None else counters
        self.code = OPTIMIZER_CODES[network.spec.optimizer]
        first = train.beta1 if self.code == ADAM else train.momentum
        self.hyper = np.array([first, train.beta2, train.eps], np.float32)
        self._allocate(network.spec.n_labels, n_active)

    def _allocate(self, n_labels: int, n_active: int) -> None:
        spec, batch = self.network.spec, self.train.batch_size
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
        self.input_seeds: Seeds = np.empty(batch, np.uint64)
        self.sums = [np.empty((batch, width), np.float32) for width in spec.hidden]
        self.masks = [np.empty((batch, width), np.float32) for width in spec.hidden if spec.dropout > 0]
        self.deltas = [np.empty((batch, width), np.float32) for width in spec.hidden]
        self.unit = np.empty((batch, spec.width), np.float32)
        self.norms = np.empty(batch, np.float32)
        self.weight_gradients = [np.empty_like(layer.weights) for layer in self.network.hidden_layers]
        self.bias_gradients = [np.empty((1, width), np.float32) for width in spec.hidden]

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
        active, kept = self.counters[Counter.ACTIVE], self.counters[Counter.ROWS_UPDATED]
        hidden = self._forward(rows)
        self._train_output(rows, hidden, lr, step)
        self._backward(rows, lr, lr_input, step)
        self._count(rows, self.counters[Counter.ACTIVE] - active, self.counters[Counter.ROWS_UPDATED] - kept)

    def _seeds(self, m: int, stream: int, out: Seeds | None = None) -> Seeds:
        found = (self.stream if out is None else out)[:m]
        stream_seeds(self.seeds[:m], stream, found)
        return found

    def _forward(self, rows: Offsets) -> Floats:
        m, data, network = len(rows), self.dataset, self.network
        seeds = self._seeds(m, _INPUT_DROPOUT, self.input_seeds)
        out = self.sums[0][:m]
        keep = 1.0 - network.spec.input_dropout
        input_forward(data.indptr, data.indices, data.values, rows, seeds, keep, network.input.weights, out)
        self._activate(0, out)
        for i, layer in enumerate(network.hidden_layers, start=1):
            before, out = out, self.sums[i][:m]
            np.dot(before, layer.weights, out=out)
            self._activate(i, out)
        if not network.spec.normalize:
            return out
        normalize_forward(out, self.unit[:m], self.norms[:m])
        return self.unit[:m]

    def _activate(self, i: int, out: Floats) -> None:
        m, dropout = len(out), self.network.spec.dropout
        activation_forward(self.network.activation, self.network.biases[i].weights, out)
        if dropout > 0:
            dropout_forward(self._seeds(m, _DROPOUT + i), 1.0 - dropout, out, self.masks[i][:m])

    def _train_output(self, rows: Offsets, hidden: Floats, lr: float, step: int) -> None:
        spec, m, data = self.network.spec, len(rows), self.dataset
        loss, scale, tau = LOSS_CODES[spec.loss], spec.logit_scale, self.train.skip_below
        layer = (*self.network.output.views, *self.network.output_bias.views, spec.bias, self.network.dirty)
        rate = (lr, self.hyper, step)
        scratch = (self.logits, self.kept, self.deltas[-1][:m], self.counters)
        if self.dense:
            lists = (data.label_indptr, data.labels, rows, self.active, self.place, self.swapped)
            seeds = self._seeds(m, _ROUND)
            dense_output_step(*lists, hidden, seeds, loss, scale, tau, self.code, *layer, *rate, *scratch)
            return
        active, bounds = self.active[:m], self.bounds[:m]
        assert self.selector is not None
        self.selector.select_batch(hidden, rows, self._seeds(m, _SELECT), active, bounds)
        seeds = self._seeds(m, _ROUND)
        output_step(
            active, bounds, hidden, seeds, loss, spec.log_q, scale, tau, self.code, *layer, *rate, *scratch
        )

    def _backward(self, rows: Offsets, lr: float, lr_input: float, step: int) -> None:
        m, network, data = len(rows), self.network, self.dataset
        if network.spec.normalize:
            normalize_backward(self.unit[:m], self.norms[:m], self.deltas[-1][:m])
        for i in range(len(network.hidden_layers), 0, -1):
            layer, delta = network.hidden_layers[i - 1], self._delta(i, m)
            np.dot(delta, layer.weights.T, out=self.deltas[i - 1][:m])
            np.dot(self.sums[i - 1][:m].T, delta, out=self.weight_gradients[i - 1])
            self._update(layer, self.weight_gradients[i - 1], lr, step)
            self._update_bias(i, delta, lr, step)
        delta = self._delta(0, m)
        self._update_bias(0, delta, lr_input, step)
        keep, seeds = 1.0 - network.spec.input_dropout, self.input_seeds[:m]
        batch = (data.indptr, data.indices, data.values, rows, seeds, keep, delta)
        input_backward(*batch, self.code, *network.input.views, lr_input, self.hyper, step)

    def _delta(self, i: int, m: int) -> Floats:
        """Turn the gradient to layer i's outputs into the gradient to its sums, in place."""
        delta, dropout = self.deltas[i][:m], self.network.spec.dropout
        if dropout > 0:
            multiply(self.masks[i][:m], delta)
        activation_backward(self.network.activation, self.sums[i][:m], 1.0 - dropout, delta)
        return delta

    def _update(self, block: Block, gradient: Floats, lr: float, step: int) -> None:
        update_rows(self.code, *block.views, gradient, lr, self.hyper, step)

    def _update_bias(self, i: int, delta: Floats, lr: float, step: int) -> None:
        column_sums(delta, self.bias_gradients[i])
        self._update(self.network.biases[i], self.bias_gradients[i], lr, step)

    def _count(self, rows: Offsets, n_active: float, n_kept: float) -> None:
        spec, indptr = self.network.spec, self.dataset.indptr
        n_nonzeros, m = int((indptr[rows + 1] - indptr[rows]).sum()), len(rows)
        # Backward, the first layer has only its weights' gradient, the others their inputs' too.
        first = 2 * spec.hidden_macs(n_nonzeros, 0)
        below = first + 3 * spec.hidden_macs(0, m)
        self.counters[Counter.MACS] += below + (n_active + 2 * n_kept) * spec.width
        self.counters[Counter.DENSE_MACS] += below + 3 * m * spec.n_labels * spec.width
        self.counters[Counter.BATCHES] += 1
