"""What passes between layers: a batch's activations and the gradients to them, dense or sparse."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from distlsh.kernels.random import stream_seeds
from distlsh.model.finite import Found, bad_value, lengths, squares
from distlsh.model.network import Network
from distlsh.model.spec import Floats, Ids, Offsets, Seeds


@dataclass(frozen=True, slots=True)
class Room:
    """What scratch is made for.

    batch     samples a batch at most
    training  gradients are wanted and dropout is on
    code      of the optimiser
    hyper     f4[3], its settings
    """

    batch: int
    training: bool = False
    code: int = 0
    hyper: Floats | None = None

    def gradients(self, *shape: int) -> Floats:
        """Return scratch of this shape, or of no places where no gradients are wanted."""
        return np.empty(shape if self.training else (0,) * len(shape), np.float32)


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch on its way through the layers.

    indptr, indices, values  CSR of all instances: i8[n+1], i4[nnz], f4[nnz]
    rows        i8[m], those of the batch
    states      u8[m], each sample's random state; of no places outside training
    lr, lr_input, step  of the optimiser: rates of all layers but the first, and of the first
    """

    indptr: Offsets
    indices: Ids
    values: Floats
    rows: Offsets
    states: Seeds
    lr: float = 0.0
    lr_input: float = 0.0
    step: int = 0
    found: list[Found] = field(default_factory=list)  # samples without a usable gradient on the way back

    @property
    def size(self) -> int:
        """Samples, m."""
        return len(self.rows)

    @property
    def n_nonzeros(self) -> int:
        """Features of the batch's instances in all."""
        return int((self.indptr[self.rows + 1] - self.indptr[self.rows]).sum())

    def features(self, place: int) -> tuple[Ids, Floats]:
        """Return the features of a sample and their values."""
        row = self.rows[place]
        first, last = self.indptr[row], self.indptr[row + 1]
        return self.indices[first:last], self.values[first:last]

    def bad_value(self, place: int) -> str | None:
        """Return which feature of a sample has a value that is not finite; None if none has."""
        features, values = self.features(place)
        return bad_value(values, features, "feature")

    def seeds(self, stream: int, out: Seeds) -> Seeds:
        """Write the samples' states of one stream to ``out`` and return them, u8[m]."""
        found = out[: self.size]
        if len(self.states):
            stream_seeds(self.states, stream, found)
        return found


class Dense:
    """Dense activations: ``values`` and ``delta`` f4[batch, width]; a batch fills the first m rows."""

    def __init__(self, room: Room, width: int) -> None:
        self.values: Floats = np.empty((room.batch, width), np.float32)
        self.delta = room.gradients(room.batch, width)
        self.squares = 0.0

    def lengths(self, m: int) -> Floats:
        """Return each sample's sum of squares, f4[m]."""
        return lengths(self.values[:m])

    def of_sample(self, place: int) -> Floats:
        """Return the activations of one sample."""
        found: Floats = self.values[place]
        return found

    def marked(self, m: int) -> list[tuple[int, Floats]]:
        """Return the place and gradient of each sample whose gradient begins with a NaN."""
        return [(int(place), self.delta[place]) for place in np.flatnonzero(np.isnan(self.delta[:m, 0]))]


class Pairs:
    """Sparse activations: pairs of index and value of each sample, CSR, ascending by index.

    indptr   i8[batch + 1]; a batch fills the first m + 1 places
    indices  i4[batch * most], values f4[batch * most], delta f4[batch * most]: gradient to the values
    width    indices lie in [0, width)
    """

    def __init__(self, room: Room, width: int, most: int) -> None:
        """Make room for at most ``most`` pairs a sample."""
        self.width = width
        self.indptr: Offsets = np.zeros(room.batch + 1, np.int64)
        self.indices: Ids = np.empty(room.batch * most, np.int32)
        self.values: Floats = np.empty(room.batch * most, np.float32)
        self.delta = room.gradients(room.batch * most)
        self.squares = 0.0

    def lengths(self, m: int) -> Floats:
        """Return each sample's sum of squares, f4[m]."""
        return self.sums_of_squares(self.values, m)

    def sums_of_squares(self, values: Floats, m: int) -> Floats:
        """Return each sample's sum of the squares of ``values`` f4[pairs], f4[m]."""
        found = [squares(values[first:last]) for first, last in pairwise(self.indptr[: m + 1])]
        return np.array(found, np.float32)

    def of_sample(self, place: int) -> Floats:
        """Return the activations of one sample."""
        return self.values[self.indptr[place] : self.indptr[place + 1]]

    def marked(self, m: int) -> list[tuple[int, Floats]]:
        """Return the place and gradient of each sample whose gradient begins with a NaN."""
        ends = enumerate(pairwise(self.indptr[: m + 1]))
        each = ((place, self.delta[first:last]) for place, (first, last) in ends)
        return [(place, delta) for place, delta in each if np.isnan(delta[:1]).any()]

    def of(self, m: int) -> tuple[Offsets, Ids, Floats]:
        """Return the pairs of a batch of ``m`` as kernels take them."""
        return self.indptr[: m + 1], self.indices, self.values

    def counts(self, m: int) -> Offsets:
        """Return how many pairs each of ``m`` samples has, i8[m]."""
        return np.diff(self.indptr[: m + 1])


State = Dense | Pairs


@dataclass(frozen=True, slots=True)
class Macs:
    """Multiply-adds of a layer's last batch, forward and in all; and those of a dense layer in all."""

    forward_done: int
    done: int
    dense: int
    hashed: bool = False


def most_features(network: Network, indptr: Offsets) -> int:
    """Return the most features that an instance has, where the first layer is hashed; else 0."""
    return int(np.diff(indptr).max(initial=1)) if network.spec.budget(0) else 0
