"""Families that see a vector as the set of the dimensions where it is not 0."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from distlsh.lsh.families.base import Family, Ids
from distlsh.lsh.rows import Floats, Rows, SparseRows, block, n_rows
from distlsh.lsh.spec import HashSpec

Offsets = NDArray[np.int64]

_VALUES = 1 << 18
"""Values of dense rows looked through at a time."""


def members(rows: Rows) -> tuple[Offsets, Ids]:
    """Return each row's dimensions that are not 0: i8[m + 1] and i4.  Stored zeros do not count."""
    if not isinstance(rows, SparseRows):
        held = rows != 0
        counts = np.count_nonzero(held, axis=1)
        return np.concatenate([[0], np.cumsum(counts)]), np.nonzero(held)[1].astype(np.int32)
    here = slice(rows.indptr[0], rows.indptr[-1])
    held = rows.values[here] != 0
    if held.all():
        return rows.indptr, rows.indices
    before = np.concatenate([[0], np.cumsum(held)])
    return before[rows.indptr - rows.indptr[0]], rows.indices[here][held]


class SetFamily(ABC):
    """Gives sets, some rows after others, to a family that has no probes."""

    def __init__(self, spec: HashSpec) -> None:
        self.spec = spec

    @abstractmethod
    def hash_sets(self, indptr: Offsets, ids: Ids, out: Ids) -> None:
        """Write the codes i4[m, n_tables] of the m sets ``ids[indptr[i] : indptr[i + 1]]``."""

    def codes(self, rows: Rows, center: Floats | None, out: Ids) -> None:
        """Write the code of each row in each table; see `base.Family`.  Sets have no center."""
        for first, last in self._ranges(rows):
            self.hash_sets(*members(block(rows, first, last)), out[first:last])

    def probes(self, rows: Rows, center: Floats | None, out: Ids, scores: Floats) -> None:
        """Write each query's code in each table, the only one there is; see `base.Family`."""
        for first, last in self._ranges(rows):
            codes: Ids = np.empty((last - first, self.spec.n_tables), np.int32)
            self.hash_sets(*members(block(rows, first, last)), codes)
            out[first:last, :, 0] = codes
        scores[...] = 0.0

    def one_by_one(self) -> Family:
        """Return itself: sets are hashed one by one."""
        return self

    def _ranges(self, rows: Rows) -> Iterator[tuple[int, int]]:
        m = n_rows(rows)
        step = m if isinstance(rows, SparseRows) else max(1, _VALUES // self.spec.n_dims)
        for first in range(0, m, step):
            yield first, min(first + step, m)
