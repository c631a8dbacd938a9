"""The forward pass of a network with hashed layers, without dropout: imported for such networks alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distlsh.constants import SPARSE_BLOCK
from distlsh.kernels.pairs import pairs_to_dense
from distlsh.model.layers.choosers import AllNeurons, Chooser
from distlsh.model.layers.hashed import HashedLayer
from distlsh.model.layers.stack import Stack
from distlsh.model.layers.state import Batch, Dense, Pairs, Room
from distlsh.model.network import Network
from distlsh.model.spec import Floats, Ids, Offsets, Seeds


@dataclass(slots=True)
class Forward:
    """Rows taken through the hidden layers.

    hidden  f4[m, d], the output layer's input, zeros where not active
    macs    multiply-adds; hashing is not counted
    found   of each hashed layer: exactly active neurons that its chooser found, all rows
    wanted  of each hashed layer: exactly active neurons, given the layer's input
    """

    hidden: Floats
    macs: int
    found: list[int]
    wanted: list[int]


def sparse_forward(
    network: Network,
    csr: tuple[Offsets, Ids, Floats],
    rows: Offsets,
    choosers: Mapping[int, Chooser] | None,
    *,
    recall: bool = False,
) -> Forward:
    """Take rows i8[m] of a CSR matrix through the hidden layers; see `Network.hidden_csr`.

    recall  count ``found`` and ``wanted`` too, which costs the exact choice
    """
    indptr = csr[0]
    room = Room(min(SPARSE_BLOCK, max(1, len(rows))))
    most = int((indptr[rows + 1] - indptr[rows]).max(initial=1))
    stack = Stack(network, room, most_features=most, choosers=choosers)
    exact = [_Exact(network, layer, room) for layer in _hashed(stack)] if recall else []
    out: Floats = np.empty((len(rows), network.spec.width), np.float32)
    macs = 0
    states: Seeds = np.zeros(room.batch, np.uint64)
    for first in range(0, len(rows), room.batch):
        some = rows[first : first + room.batch]
        batch = Batch(*csr, some, states[: len(some)])
        stack.forward(batch)
        macs += sum(layer.forward_done for layer in stack.macs(batch))
        _copy(stack, out[first : first + len(some)])
        for one in exact:
            one.count(batch)
    return Forward(out, macs, [one.found for one in exact], [one.wanted for one in exact])


def _hashed(stack: Stack) -> list[HashedLayer]:
    return [layer for layer in stack.layers if isinstance(layer, HashedLayer)]


def _copy(stack: Stack, out: Floats) -> None:
    if isinstance(stack.out, Dense):
        out[...] = stack.out.values[: len(out)]
    else:
        pairs_to_dense(*stack.out.of(len(out)), out)


class _Exact:
    """The same layer with its exact top active, over the same input."""

    def __init__(self, network: Network, layer: HashedLayer, room: Room) -> None:
        self._layer = layer
        width = network.spec.hidden[layer.number]
        self._exact = HashedLayer(network, layer.number, room, layer.source, AllNeurons(width))
        self.found = 0
        self.wanted = 0

    def count(self, batch: Batch) -> None:
        """Compare both layers' active neurons of a batch that went through the layer."""
        self._exact.forward(batch)
        wanted = _places(self._exact.out, batch.size)
        self.wanted += len(wanted)
        self.found += int(np.isin(wanted, _places(self._layer.out, batch.size)).sum())


def _places(pairs: Pairs, m: int) -> Offsets:
    """Return a number for each pair of sample and index."""
    samples = np.repeat(np.arange(m), pairs.counts(m))
    return samples * pairs.width + pairs.indices[: pairs.indptr[m]]
