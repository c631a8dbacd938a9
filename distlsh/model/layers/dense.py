"""Dense hidden layers, over instances or over a layer's activations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial

import numpy as np
from numpy.typing import NDArray

from distlsh.kernels.dropout import dropout_forward
from distlsh.kernels.finite import MOST
from distlsh.kernels.hidden_layer import (
    LINEAR,
    activation_backward,
    activation_forward,
    column_sums,
    multiply,
)
from distlsh.kernels.input_layer import input_backward, input_forward
from distlsh.kernels.optim import update_rows
from distlsh.model.finite import Found, bad_row, in_instance, lengths, squares, too_large
from distlsh.model.layers.state import Batch, Dense, Macs, Room, State
from distlsh.model.network import Block, Network
from distlsh.model.spec import Floats, Seeds, layer_name

INPUT_DROPOUT, DROPOUT = 1, 16
"""Streams of a sample's randomness; hidden layer i has stream DROPOUT + i."""


class DenseLayer(ABC):
    """What dense layers share: bias, activation, dropout; their products differ by their input."""

    def __init__(self, network: Network, i: int, room: Room, source: State | None = None) -> None:
        spec, width = network.spec, network.spec.hidden[i]
        self._i, self._room, self._spec = i, room, spec
        self._source = source  # None: instances
        self.name = layer_name(i)
        self._activation = network.activation
        self._block, self._bias = network.layers[i], network.biases[i]
        self._dropout = spec.dropout if room.training else 0.0
        self._stream: Seeds = np.empty(room.batch, np.uint64)
        self._bias_gradient = room.gradients(1, width)
        self.out = Dense(room, width)
        self.mask: Floats = np.empty((room.batch if self._dropout > 0 else 0, width), np.float32)

    def forward(self, batch: Batch) -> None:
        """Write the activations of ``batch`` to ``out.values``."""
        values = self.out.values[: batch.size]
        self._product(batch, values)
        self.out.squares = activation_forward(self._activation, self._bias.weights, values)
        if self._dropout > 0:
            seeds = batch.seeds(DROPOUT + self._i, self._stream)
            dropout_forward(seeds, 1.0 - self._dropout, values, self.mask[: batch.size])

    def backward(self, batch: Batch) -> None:
        """Pass the gradient in ``out.delta`` on to the layer's input, and step weights and bias."""
        delta = self.out.delta[: batch.size]
        if self._dropout > 0:
            multiply(self.mask[: batch.size], delta)
        keep, values = 1.0 - self._dropout, self.out.values[: batch.size]
        length = activation_backward(self._activation, values, keep, delta)
        if not length * (1.0 if self._source is None else max(1.0, self._source.squares)) < MOST:
            self._leave_out(batch, delta)
        lr = batch.lr if self._i else batch.lr_input
        column_sums(delta, self._bias_gradient)
        self._update(self._bias, self._bias_gradient, lr, batch.step)
        self._spread(batch, delta, lr)

    def macs(self, batch: Batch) -> Macs:
        """Return the multiply-adds of the last batch."""
        # Backward, the first layer has only its weights' gradient, the others their inputs' too.
        spec, width = self._spec, self._spec.hidden[self._i]
        passes = 3 if self._i else 2
        forward = (batch.size * spec.inputs(self._i) if self._i else batch.n_nonzeros) * width
        return Macs(forward, passes * forward, passes * forward)

    def found(self, batch: Batch, place: int) -> Found:
        """Return what is wrong with a sample whose activations are not finite."""
        return Found(place, self.name, partial(self._explain, batch, place))

    def _explain(self, batch: Batch, place: int) -> str:
        inputs = np.arange(len(self._block.weights), dtype=np.int32)
        weights = bad_row(self._block.weights, inputs, "the weights of input")
        return weights or too_large(self.out.of_sample(place), "its activations")

    def bad(self, batch: Batch) -> NDArray[np.intp]:
        """Return the places of samples whose sums are not finite; leaves the sums where activations were."""
        sums = self.out.values[: batch.size]
        self._product(batch, sums)
        activation_forward(LINEAR, self._bias.weights, sums)
        return np.flatnonzero(~(lengths(sums) < MOST))

    def _leave_out(self, batch: Batch, delta: Floats) -> None:
        """Take away the gradients of samples that would make a weight's gradient, squared, not finite."""
        source = self._source
        each = lengths(delta)
        if source is not None:
            each *= np.maximum(np.float32(1.0), source.lengths(batch.size))
        for place in np.flatnonzero(~(each < MOST)):
            what = too_large(delta[place], "the gradients of its sums")
            batch.found.append(Found(int(place), self.name, what))
            delta[place] = 0.0

    def _update(self, block: Block, gradient: Floats, lr: float, step: int) -> None:
        update_rows(self._room.code, *block.views, gradient, lr, self._room.hyper, step)

    @abstractmethod
    def _product(self, batch: Batch, out: Floats) -> None:
        """Write the layer's sums, without bias, to ``out``."""

    @abstractmethod
    def _spread(self, batch: Batch, delta: Floats, lr: float) -> None:
        """Pass ``delta``, the gradient of the sums, on to the input, and step the weights."""


class OnInstances(DenseLayer):
    """The first layer: sums the weight rows of an instance's features."""

    def __init__(self, network: Network, room: Room) -> None:
        super().__init__(network, 0, room)
        self._keep = 1.0 - network.spec.input_dropout if room.training else 1.0
        self._seeds: Seeds = np.empty(room.batch, np.uint64)

    def _product(self, batch: Batch, out: Floats) -> None:
        seeds = batch.seeds(INPUT_DROPOUT, self._seeds)
        csr = (batch.indptr, batch.indices, batch.values)
        input_forward(*csr, batch.rows, seeds, self._keep, self._block.weights, out)

    def _spread(self, batch: Batch, delta: Floats, lr: float) -> None:
        room, seeds = self._room, self._seeds[: batch.size]
        csr = (batch.indptr, batch.indices, batch.values, batch.rows, seeds, self._keep)
        if input_backward(*csr, delta, room.code, *self._block.views, lr, room.hyper, batch.step):
            self._note_left_out(batch, delta)

    def found(self, batch: Batch, place: int) -> Found:
        """Return what is wrong with a sample whose activations are not finite: its values, or the layer."""
        instance, sums = batch.features(place), self.out.of_sample(place).copy()
        return Found(place, *in_instance(self._block.weights, self.name, *instance, sums))

    def _note_left_out(self, batch: Batch, delta: Floats) -> None:
        """Name the samples that the kernel left out: gradients of the sums, times values, are too large."""
        for place, length in enumerate(lengths(delta)):
            values = batch.features(place)[1]
            if length and not length * (squares(values) / self._keep**2) < MOST:
                what = too_large(delta[place], "the gradients of its sums, times its values,")
                batch.found.append(Found(place, self.name, what))


class OnDense(DenseLayer):
    """A layer over dense activations: one optimiser step on the batch's summed gradient."""

    def __init__(self, network: Network, i: int, room: Room, source: Dense) -> None:
        super().__init__(network, i, room, source)
        self._dense = source
        self._gradient = room.gradients(*self._block.weights.shape)

    def _product(self, batch: Batch, out: Floats) -> None:
        np.dot(self._dense.values[: batch.size], self._block.weights, out=out)

    def _spread(self, batch: Batch, delta: Floats, lr: float) -> None:
        np.dot(delta, self._block.weights.T, out=self._dense.delta[: batch.size])
        np.dot(self._dense.values[: batch.size].T, delta, out=self._gradient)
        self._update(self._block, self._gradient, lr, batch.step)
