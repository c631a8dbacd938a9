"""The hidden layers of a network, in order, for batches of one size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from distlsh.kernels.hidden_layer import normalize_backward, normalize_forward
from distlsh.model.finite import Found
from distlsh.model.layers.dense import OnDense, OnInstances
from distlsh.model.layers.state import Batch, Dense, Macs, Room, State
from distlsh.model.network import Network
from distlsh.model.spec import Floats

if TYPE_CHECKING:
    from distlsh.model.layers.choosers import Chooser


class Layer(Protocol):
    """A step of the way from instances to the output layer's input."""

    @property
    def out(self) -> State:
        """What the layer passes on, and the gradient to it."""

    def forward(self, batch: Batch) -> None:
        """Fill ``out``."""

    def backward(self, batch: Batch) -> None:
        """Pass the gradient to ``out`` on to the input, and step the weights."""


@runtime_checkable
class Watched(Layer, Protocol):
    """A layer at whose activations a forward pass may stop; those that copy others' are not."""

    def bad(self, batch: Batch) -> npt.NDArray[np.intp]:
        """Return the places of samples whose activations are not finite."""

    def found(self, batch: Batch, place: int) -> Found:
        """Return what is wrong with a sample whose activations are not finite."""


class Stack:
    """Takes batches through the hidden layers and their gradients back; owns the scratch of one thread.

    layers  the hidden layers, and what turns dense activations into sparse ones between them
    out     the output layer's input: of unit length where ``spec.normalize`` is on
    """

    def __init__(
        self,
        network: Network,
        room: Room,
        *,
        most_features: int = 0,
        choosers: Mapping[int, Chooser] | None = None,
    ) -> None:
        """Allocate.

        most_features  of an instance; needed where the first layer is hashed
        choosers       of hashed layers by their number; where one is missing its exact top is active
        """
        self.layers: list[Layer] = []
        if network.spec.hashed:
            from distlsh.model.layers.build import mixed_layers

            self.layers += mixed_layers(network, room, most_features, choosers or {})
        else:
            self.layers.append(OnInstances(network, room))
            for i in range(1, len(network.spec.hidden)):
                self.layers.append(OnDense(network, i, room, self.layers[-1].out))  # type: ignore[arg-type]
        self._suspect: Layer | None = None
        self._checks = room.training
        if network.spec.normalize:
            self.layers.append(_unit_length(room, self.layers[-1].out))

    @property
    def out(self) -> State:
        """The output layer's input, and the gradient to it."""
        return self.layers[-1].out

    def forward(self, batch: Batch) -> bool:
        """Fill ``out``; where it trains, stop and return False at activations that are not finite."""
        for layer in self.layers:
            layer.forward(batch)
            if self._checks and not math.isfinite(layer.out.squares):
                self._suspect = layer
                return False
        return True

    def found(self, batch: Batch) -> list[Found]:
        """Return the samples at which `forward` stopped, at least one."""
        layer = self._suspect
        assert isinstance(layer, Watched)
        return [layer.found(batch, int(place)) for place in layer.bad(batch)]

    def backward(self, batch: Batch) -> None:
        """Take the gradient in ``out.delta`` back through all layers, which step their weights."""
        for layer in reversed(self.layers):
            layer.backward(batch)

    def macs(self, batch: Batch) -> list[Macs]:
        """Return the multiply-adds of the last batch, a layer each."""
        return [layer.macs(batch) for layer in self.layers if hasattr(layer, "macs")]


class UnitLength:
    """Scales dense activations to length 1."""

    def __init__(self, room: Room, source: Dense) -> None:
        self._source = source
        self._norms: Floats = np.empty(room.batch, np.float32)
        self.out = Dense(room, source.values.shape[1])
        self.out.delta = source.delta  # in place

    def forward(self, batch: Batch) -> None:
        """Write the source's vectors, scaled, to ``out``."""
        m = batch.size
        normalize_forward(self._source.values[:m], self.out.values[:m], self._norms[:m])

    def backward(self, batch: Batch) -> None:
        """Turn the gradient into the source's, in place."""
        m = batch.size
        normalize_backward(self.out.values[:m], self._norms[:m], self.out.delta[:m])


def _unit_length(room: Room, source: State) -> Layer:
    if isinstance(source, Dense):
        return UnitLength(room, source)
    from distlsh.model.layers.build import UnitPairs

    return UnitPairs(room, source)
