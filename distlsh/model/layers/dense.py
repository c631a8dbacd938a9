"""Dense hidden layers, over instances or over a layer's activations."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from distlsh.kernels.dropout import dropout_forward
from distlsh.kernels.hidden_layer import activation_backward, activation_forward, column_sums, multiply
from distlsh.kernels.input_layer import input_backward, input_forward
from distlsh.kernels.optim import update_rows
from distlsh.model.layers.state import Batch, Dense, Macs, Room
from distlsh.model.network import Block, Network
from distlsh.model.spec import Floats, Seeds

INPUT_DROPOUT, DROPOUT = 1, 16
"""Streams of a sample's randomness; hidden layer i has stream DROPOUT + i."""


class DenseLayer(ABC):
    """What dense layers share: bias, activation, dropout; their products differ by their input."""

    def __init__(self, network: Network, i: int, room: Room) -> None:
        spec, width = network.spec, network.spec.hidden[i]
        self._i, self._room, self._spec = i, room, spec
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
        activation_forward(self._activation, self._bias.weights, values)
        if self._dropout > 0:
            seeds = batch.seeds(DROPOUT + self._i, self._stream)
            dropout_forward(seeds, 1.0 - self._dropout, values, self.mask[: batch.size])

    def backward(self, batch: Batch) -> None:
        """Pass the gradient in ``out.delta`` on to the layer's input, and step weights and bias."""
        delta = self.out.delta[: batch.size]
        if self._dropout > 0:
            multiply(self.mask[: batch.size], delta)
        activation_backward(self._activation, self.out.values[: batch.size], 1.0 - self._dropout, delta)
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
        input_backward(*csr, delta, room.code, *self._block.views, lr, room.hyper, batch.step)


class OnDense(DenseLayer):
    """A layer over dense activations: one optimiser step on the batch's summed gradient."""

    def __init__(self, network: Network, i: int, room: Room, source: Dense) -> None:
        super().__init__(network, i, room)
        self._source = source
        self._gradient = room.gradients(*self._block.weights.shape)

    def _product(self, batch: Batch, out: Floats) -> None:
        np.dot(self._source.values[: batch.size], self._block.weights, out=out)

    def _spread(self, batch: Batch, delta: Floats, lr: float) -> None:
        np.dot(delta, self._block.weights.T, out=self._source.delta[: batch.size])
        np.dot(self._source.values[: batch.size].T, delta, out=self._gradient)
        self._update(self._block, self._gradient, lr, batch.step)
