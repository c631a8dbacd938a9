"""Candidates of a hashed layer from its hash tables."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from distlsh.config.schema import HiddenLshConfig
from distlsh.config.shares import computed_neurons
from distlsh.kernels.pairs import pairs_to_dense
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.sampler import ActiveSampler
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tables import Tables
from distlsh.model.layers.choosers import AllNeurons, Chooser, RandomNeurons
from distlsh.model.layers.state import Pairs
from distlsh.model.spec import Floats, Ids, NetworkSpec, Offsets, Seeds


class TableSource(Protocol):
    """Where tables are read: `lsh.reader.TableReader` in a run, a checkpoint's arrays afterwards."""

    @property
    def spec(self) -> HashSpec:
        """How the tables are hashed."""

    @property
    def hasher(self) -> Hasher:
        """The hash functions, of one thread."""

    @property
    def bucket_size(self) -> int:
        """Ids that a bucket holds at most."""

    def tables(self) -> AbstractContextManager[Tables]:
        """Give one generation of the tables."""


class TableNeurons:
    """The neurons that most of a query's buckets hold, then random ones where the tables gave too few.

    A query is the layer's input with a 1 behind it, as a row is a neuron's weights with its bias.
    """

    def __init__(self, reader: TableSource, width: int, most: int, batch: int) -> None:
        spec = reader.spec
        self.most = most
        self._reader = reader
        self._sampler = ActiveSampler(
            width, most, 0, n_tables=spec.n_tables, n_codes=spec.n_codes,
            bucket_size=reader.bucket_size, batch=batch,
        )  # fmt: skip
        self._queries: Floats = np.empty((batch, spec.n_dims), np.float32)
        self._codes: Ids = np.empty((batch, spec.n_tables, spec.n_codes), np.int32)
        self._chosen: Ids = np.empty((batch, most), np.int32)
        self._bounds: Ids = np.empty((batch, 3), np.int32)
        # No labels: nothing is active beforehand.
        self._no_labels: tuple[Offsets, Ids] = (np.zeros(batch + 1, np.int64), np.empty(0, np.int32))
        self._rows: Offsets = np.arange(batch, dtype=np.int64)

    def choose(self, inputs: Pairs, m: int, seeds: Seeds) -> tuple[Ids, Ids]:
        """Return the neurons of one generation of the tables; see `Chooser`."""
        queries, codes = self._queries[:m], self._codes[:m]
        pairs_to_dense(*inputs.of(m), queries)
        if queries.shape[1] > inputs.width:
            queries[:, inputs.width] = 1.0
        self._reader.hasher.probes(queries, codes)
        chosen, bounds = self._chosen[:m], self._bounds[:m]
        with self._reader.tables() as tables:
            self._sampler.select(tables, codes, *self._no_labels, self._rows[:m], seeds[:m], chosen, bounds)
        return chosen, np.ascontiguousarray(bounds[:, 2])


def hidden_choosers(
    spec: NetworkSpec, settings: HiddenLshConfig, readers: Mapping[int, TableSource], batch: int
) -> dict[int, Chooser]:
    """Return what chooses the neurons of each hashed layer, by its number.

    readers  of the layers' tables, where the choice is by tables and less than the layer is computed
    batch    samples a call at most
    """
    found: dict[int, Chooser] = {}
    for i in spec.hashed:
        width = spec.hidden[i]
        n = computed_neurons(settings, spec.budget(i), width)
        if n == width:
            found[i] = AllNeurons(width)
        elif settings.choice == "tables":
            found[i] = TableNeurons(readers[i], width, n, batch)
        else:
            found[i] = RandomNeurons(width, n, batch)
    return found
