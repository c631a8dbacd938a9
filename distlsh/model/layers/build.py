"""Networks with hashed layers: imported only for them, since it loads their kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from distlsh.kernels.pairs import normalize_pairs, normalize_pairs_backward
from distlsh.model.layers.choosers import AllNeurons, Chooser
from distlsh.model.layers.dense import OnDense, OnInstances
from distlsh.model.layers.hashed import DensePairs, HashedLayer, InstancePairs, OnPairs
from distlsh.model.layers.state import Batch, Dense, Pairs, Room
from distlsh.model.network import Network
from distlsh.model.spec import Floats

if TYPE_CHECKING:
    from distlsh.model.layers.stack import Layer


def mixed_layers(
    network: Network, room: Room, most_features: int, choosers: Mapping[int, Chooser]
) -> list[Layer]:
    """Return the hidden layers of a network with hashed ones, and the turns to pairs between them."""
    layers: list[Layer] = []
    for i, width in enumerate(network.spec.hidden):
        if network.spec.budget(i):
            _turn_to_pairs(layers, network, room, most_features)
            chooser = choosers.get(i) or AllNeurons(width)
            source = layers[-1].out
            assert isinstance(source, Pairs)
            layers.append(HashedLayer(network, i, room, source, chooser))
        else:
            layers.append(_dense_layer(layers, network, i, room))
    return layers


def _turn_to_pairs(layers: list[Layer], network: Network, room: Room, most_features: int) -> None:
    if not layers:
        layers.append(InstancePairs(network, room, most_features))
    elif isinstance(source := layers[-1].out, Dense):
        layers.append(DensePairs(network, room, source))


def _dense_layer(layers: list[Layer], network: Network, i: int, room: Room) -> Layer:
    if not layers:
        return OnInstances(network, room)
    source = layers[-1].out
    if isinstance(source, Dense):
        return OnDense(network, i, room, source)
    return OnPairs(network, i, room, source)


class UnitPairs:
    """Scales sparse activations to length 1."""

    def __init__(self, room: Room, source: Pairs) -> None:
        self._source = source
        self._norms: Floats = np.empty(room.batch, np.float32)
        self.out = Pairs(room, source.width, 0)
        self.out.indptr, self.out.indices, self.out.delta = source.indptr, source.indices, source.delta
        self.out.values = np.empty_like(source.values)

    def forward(self, batch: Batch) -> None:
        """Write the source's values, scaled, to ``out``."""
        indptr, _, values = self._source.of(batch.size)
        normalize_pairs(indptr, values, self.out.values, self._norms[: batch.size])

    def backward(self, batch: Batch) -> None:
        """Turn the gradient into the source's, in place."""
        m = batch.size
        normalize_pairs_backward(self.out.indptr, self.out.values, self._norms[:m], self.out.delta)
