"""Families that take vectors one by one: for few of them a block of 16 would stand mostly empty."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from distlsh.kernels._ir import LANES
from distlsh.kernels.one_vector import load_one_dense, load_one_sparse, unload_one_sparse
from distlsh.lsh.families.base import Family, Ids
from distlsh.lsh.families.lines import aligned
from distlsh.lsh.rows import Floats, Rows, SparseRows, n_rows
from distlsh.lsh.spec import HashSpec

_NO_CENTER: Floats = np.zeros(0, np.float32)


class OneVector(ABC):
    """Loads one row after the other into `vector` for a family to hash.

    spec    of the family
    width   least places of `vector`, at least n_dims; there are as many as fill lines of 16
    pad     what places from n_dims on hold
    """

    def __init__(self, spec: HashSpec, width: int, pad: float = 0.0) -> None:
        self.spec = spec
        self.vector: Floats = aligned((-(-width // LANES) * LANES,), np.float32)
        self.vector[spec.n_dims :] = pad
        self._clear = True

    def codes(self, rows: Rows, center: Floats | None, out: Ids) -> None:
        """Write the code of each row in each table; see `base.Family`."""
        for row in self.loaded(rows, center):
            self.hash_one(out[row])

    def probes(self, rows: Rows, center: Floats | None, out: Ids, scores: Floats) -> None:
        """Write each query's codes in each table; see `base.Family`."""
        for row in self.loaded(rows, center):
            self.probe_one(out[row], scores[min(row, len(scores) - 1)])

    def one_by_one(self) -> Family:
        """Return itself."""
        return self

    @abstractmethod
    def hash_one(self, out: Ids) -> None:
        """Write the codes i4[n_tables] of `vector`."""

    @abstractmethod
    def probe_one(self, out: Ids, scores: Floats) -> None:
        """Write the probes i4[n_tables, n_codes] and scores f4[n_tables, n_codes] of `vector`."""

    def loaded(self, rows: Rows, center: Floats | None) -> Iterator[int]:
        """Load a row after the other; yield its number."""
        middle = _NO_CENTER if center is None else center
        for row in range(n_rows(rows)):
            if not isinstance(rows, SparseRows):
                self._clear = False
                load_one_dense(rows, row, middle, self.vector)
                yield row
            else:
                yield from self._lent(rows, row, middle)

    def _lent(self, rows: SparseRows, row: int, middle: Floats) -> Iterator[int]:
        n_dims = self.spec.n_dims
        if not self._clear:
            self.vector[:n_dims] = 0.0
        self._clear = False
        load_one_sparse(rows.indptr, rows.indices, rows.values, row, n_dims, middle, self.vector)
        yield row
        if not len(middle):
            unload_one_sparse(rows.indptr, rows.indices, row, self.vector)
            self._clear = True
