"""Layers with sparse activations: hashed ones, dense ones over pairs, and the turns between both kinds."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from distlsh.kernels.finite import MOST
from distlsh.kernels.hashed_layer import hashed_backward, hashed_forward
from distlsh.kernels.hidden_layer import RELU
from distlsh.kernels.input_layer import input_backward, input_forward
from distlsh.kernels.pairs import dense_to_pairs, gather_rows, pairs_gradient, pairs_to_dense
from distlsh.model.finite import DATA, Found, bad_row, squares, too_large
from distlsh.model.layers.choosers import Chooser
from distlsh.model.layers.dense import INPUT_DROPOUT, DenseLayer
from distlsh.model.layers.state import Batch, Dense, Macs, Pairs, Room
from distlsh.model.network import Network
from distlsh.model.spec import Floats, Ids, Seeds, layer_name

_CHOICE = 64
"""Stream of a sample's randomness: hashed layer i has stream _CHOICE + i."""


class InstancePairs:
    """The instances' features as pairs, after dropout: what a hashed first layer reads."""

    def __init__(self, network: Network, room: Room, most: int) -> None:
        """Make room for instances of at most ``most`` features."""
        self._keep = 1.0 - network.spec.input_dropout if room.training else 1.0
        self._seeds: Seeds = np.empty(room.batch, np.uint64)
        self.out = Pairs(room, network.spec.n_features, most)

    def forward(self, batch: Batch) -> None:
        """Copy the batch's rows to ``out``."""
        seeds = batch.seeds(INPUT_DROPOUT, self._seeds)
        csr = (batch.indptr, batch.indices, batch.values)
        gather_rows(*csr, batch.rows, seeds, self._keep, *self.out.of(batch.size))
        self.out.squares = squares(self.out.values[: self.out.indptr[batch.size]])

    def backward(self, batch: Batch) -> None:
        """Nothing: features have no gradient."""

    def bad(self, batch: Batch) -> NDArray[np.intp]:
        """Return the places of samples whose values are not finite."""
        return np.flatnonzero(~(self.out.lengths(batch.size) < MOST))

    def found(self, batch: Batch, place: int) -> Found:
        """Return what is wrong with a sample whose values are not finite, or too large."""
        value = batch.bad_value(place)
        return Found(place, DATA, value or too_large(self.out.of_sample(place), "its values"))


class DensePairs:
    """Dense activations as pairs, zeros left out after a ReLU: what a hashed layer over them reads."""

    def __init__(self, network: Network, room: Room, source: Dense) -> None:
        self._source = source
        self._drop_zeros = network.activation == RELU
        width = source.values.shape[1]
        self.out = Pairs(room, width, width)

    def forward(self, batch: Batch) -> None:
        """Copy the source's activations to ``out``."""
        m = batch.size
        dense_to_pairs(self._source.values[:m], self._drop_zeros, *self.out.of(m))
        self.out.squares = self._source.squares

    def backward(self, batch: Batch) -> None:
        """Copy the gradient back; what was left out has none."""
        m = batch.size
        pairs_to_dense(self.out.indptr, self.out.indices, self.out.delta, self._source.delta[:m])


class OnPairs(DenseLayer):
    """A dense layer over sparse activations: sums, and steps, the weight rows of the active inputs."""

    def __init__(self, network: Network, i: int, room: Room, source: Pairs) -> None:
        super().__init__(network, i, room, source)
        self._pairs = source
        self._places = np.arange(room.batch, dtype=np.int64)
        self._no_seeds: Seeds = np.zeros(room.batch, np.uint64)

    def _rows(self, m: int) -> tuple[object, ...]:
        return (*self._pairs.of(m), self._places[:m], self._no_seeds[:m], 1.0)

    def _product(self, batch: Batch, out: Floats) -> None:
        input_forward(*self._rows(batch.size), self._block.weights, out)

    def _spread(self, batch: Batch, delta: Floats, lr: float) -> None:
        source, room = self._pairs, self._room
        pairs_gradient(source.indptr, source.indices, delta, self._block.weights, source.delta)
        rows = self._rows(batch.size)
        # No sample is left out here: what the kernel bounds was bounded before.
        input_backward(*rows, delta, room.code, *self._block.views, lr, room.hyper, batch.step)

    def macs(self, batch: Batch) -> Macs:
        """Return the multiply-adds of the last batch: of the inputs' pairs alone."""
        forward = int(self._pairs.indptr[batch.size]) * self._spec.hidden[self._i]
        return Macs(forward, 3 * forward, super().macs(batch).dense)


class HashedLayer:
    """A layer of which a sample computes the active neurons, over the inputs that are not zero."""

    def __init__(self, network: Network, i: int, room: Room, source: Pairs, chooser: Chooser) -> None:
        spec, width = network.spec, network.spec.hidden[i]
        self.number, self._room, self._spec, self.source, self._chooser = i, room, spec, source, chooser
        self.name = layer_name(i)
        self._activation = network.activation
        self._block, self._bias = network.layers[i], network.biases[i]
        self._dirty = network.marks[i]
        self._stream: Seeds = np.empty(room.batch, np.uint64)
        self._marks = np.zeros(width, np.uint8)
        self._ids: Ids = np.empty(chooser.most, np.int32)
        self._sums: Floats = np.empty((2, chooser.most), np.float32)
        self._n_computed: Ids = np.zeros(1, np.int32)
        self.out = Pairs(room, width, spec.budget(i))

    def forward(self, batch: Batch) -> None:
        """Choose each sample's candidates and write the activations of the best to ``out``."""
        m = batch.size
        seeds = batch.seeds(_CHOICE + self.number, self._stream)
        candidates, self._n_computed = self._chooser.choose(self.source, m, seeds)
        self.out.squares = hashed_forward(
            candidates, self._n_computed, *self.source.of(m), self._block.weights, self._bias.weights,
            self._activation, self._spec.budget(self.number), self._marks, self._ids, *self._sums,
            *self.out.of(m),
        )  # fmt: skip

    def backward(self, batch: Batch) -> None:
        """Pass the gradient in ``out.delta`` on to the input's pairs; step the active weights."""
        m, room, source = batch.size, self._room, self.source
        self._leave_out(batch)
        lr = batch.lr if self.number else batch.lr_input
        blocks = (*self._block.views, *self._bias.views, self._dirty)
        hashed_backward(
            *self.out.of(m), self.out.delta, *source.of(m), source.delta, self.number > 0, self._activation,
            room.code, *blocks, lr, room.hyper, batch.step,
        )  # fmt: skip

    def bad(self, batch: Batch) -> NDArray[np.intp]:
        """Return the places of samples whose activations are not finite."""
        return np.flatnonzero(~(self.out.lengths(batch.size) < MOST))

    def found(self, batch: Batch, place: int) -> Found:
        """Return what is wrong with a sample whose activations are not finite."""
        return Found(place, self.name, partial(self._explain, place))

    def _explain(self, place: int) -> str:
        first, last = self.out.indptr[place : place + 2]
        weights = bad_row(self._block.weights, self.out.indices[first:last], "the weights of neuron")
        return weights or too_large(self.out.of_sample(place), "its activations")

    def _leave_out(self, batch: Batch) -> None:
        """As `DenseLayer` does, for the pairs passed on."""
        m, out, source = batch.size, self.out, self.source
        delta = out.delta[: out.indptr[m]]
        if squares(delta) * max(1.0, source.squares) < MOST:
            return
        each = out.sums_of_squares(out.delta, m) * np.maximum(np.float32(1.0), source.lengths(m))
        for place in np.flatnonzero(~(each < MOST)):
            mine = delta[out.indptr[place] : out.indptr[place + 1]]
            batch.found.append(
                Found(int(place), self.name, too_large(mine, "the gradients of its activations"))
            )
            mine[:] = 0.0

    def macs(self, batch: Batch) -> Macs:
        """Return the multiply-adds of the last batch: all candidates forward, what was passed on backward."""
        m, spec = batch.size, self._spec
        inputs = self.source.counts(m)
        forward = int((inputs * self._n_computed).sum())
        active = int((inputs * self.out.counts(m)).sum())
        dense_inputs = m * spec.inputs(self.number) if self.number else batch.n_nonzeros
        passes = 2 if self.number else 1  # the first layer's inputs have no gradient
        dense = (1 + passes) * dense_inputs * spec.hidden[self.number]
        return Macs(forward, forward + passes * active, dense, hashed=True)
