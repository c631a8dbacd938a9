"""Which neurons of a hashed layer a batch computes."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from distlsh.model.layers.state import Pairs
from distlsh.model.spec import Ids, Seeds


class Chooser(Protocol):
    """Names the candidates of each sample: of them, a layer passes on those with the largest sums.

    most  candidates a sample at most
    """

    most: int

    def choose(self, inputs: Pairs, m: int, seeds: Seeds) -> tuple[Ids, Ids]:
        """Return i4[m, most], distinct neurons of each sample, and i4[m], how many; or one row for all.

        inputs  the layer's input
        seeds   u8[m], a random state a sample, free to be changed
        """


class AllNeurons:
    """Every neuron is a candidate: the active ones are the exact top, as in winner-take-all layers."""

    def __init__(self, width: int) -> None:
        self.most = width
        self._lists: tuple[Ids, Ids] = (
            np.arange(width, dtype=np.int32)[None, :],
            np.array([width], np.int32),
        )

    def choose(self, inputs: Pairs, m: int, seeds: Seeds) -> tuple[Ids, Ids]:
        """Return one list for all samples; see `Chooser`."""
        return self._lists


class RandomNeurons:
    """Neurons drawn at random, as dropout draws them: what hashed choices are measured against."""

    def __init__(self, width: int, n: int, batch: int) -> None:
        self.most = n
        self._width = width
        self._chosen: Ids = np.empty((batch, n), np.int32)
        self._counts: Ids = np.full(batch, n, np.int32)

    def choose(self, inputs: Pairs, m: int, seeds: Seeds) -> tuple[Ids, Ids]:
        """Return distinct neurons, each as likely as any other; see `Chooser`."""
        for i, seed in enumerate(seeds[:m]):
            self._chosen[i] = np.random.default_rng(int(seed)).permutation(self._width)[: self.most]
        return self._chosen[:m], self._counts[:m]
