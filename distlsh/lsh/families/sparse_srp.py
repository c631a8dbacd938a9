"""Signed projections on few dimensions each, with factors 1 and -1.

Source: Achlioptas 2003, "Database-friendly random projections", theorem 1.1; Li, Hastie & Church
2006, "Very sparse random projections", section 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distlsh.kernels._ir import LANES
from distlsh.kernels.bins import fill_bins
from distlsh.kernels.ternary import GROUP, by_dimension, fill_lists, sum_lines, sum_sparse
from distlsh.lsh.families.base import Ids
from distlsh.lsh.families.lines import aligned, u8
from distlsh.lsh.families.projected import ProjectOne, SignFamily
from distlsh.lsh.rows import Floats, SparseRows
from distlsh.lsh.spec import HashSpec

_DENSE = 1 / 16
"""Density from which on one vector is faster projected by a bit for each dimension than by lists."""


class TernaryProjection:
    """``density * n_dims`` dimensions for each hash, to be added or, by coin toss, taken away.

    They are cut from random permutations, as many as fit: projections of one share no dimension.
    """

    keeps_lines = True

    def __init__(self, spec: HashSpec) -> None:
        self._n_dims = spec.n_dims
        self.width = spec.n_dims + 1  # a line of zeros fills up the lists
        self.n_lines = -(-spec.n_tables * spec.n_hashes // GROUP) * GROUP
        length = max(1, round(spec.density * spec.n_dims))
        dims = np.empty((self.n_lines, length), np.int32)
        fill_bins(u8(spec.seed), spec.n_dims, np.empty(spec.n_dims, np.int32), dims)
        dims.sort(axis=1)
        n_groups = self.n_lines // GROUP
        self.lists: Ids = np.empty((2, n_groups, length, GROUP), np.int32)
        self.lengths: Ids = np.empty((2, n_groups), np.int32)
        fill_lists(u8(spec.seed), spec.n_dims, dims, self.lists, self.lengths)
        self._by_dimension: tuple[NDArray[np.int64], Ids] | None = None
        self._sums: Floats = np.zeros(self.n_lines, np.float32)

    def project(self, lines: Floats, coordinates: Floats) -> None:
        """See `projected.Projection`."""
        sum_lines(lines, self.lists, self.lengths, coordinates)

    def project_sparse(self, rows: SparseRows, first: int, last: int, coordinates: Floats) -> None:
        """See `projected.Projection`."""
        if self._by_dimension is None:
            held = self.lists.size // 2
            self._by_dimension = np.empty((self._n_dims + 1, 2), np.int64), np.empty(held, np.int32)
            by_dimension(self._n_dims, self.lists, *self._by_dimension)
        where = (rows.indptr, rows.indices, rows.values, first, last)
        sum_sparse(*where, *self._by_dimension, self._sums, coordinates)

    def one(self) -> ProjectOne:
        """See `projected.Projection`."""
        from distlsh.kernels.one_ternary import PANELS, fill_masks, sum_one, sum_one_lists

        def project_lists(vector: Floats, coordinates: Floats) -> None:
            sum_one_lists(vector, self.lists, self.lengths, coordinates)

        if self.lists.shape[2] < _DENSE * self._n_dims:
            return project_lists
        n_groups = -(-self.n_lines // (LANES * PANELS))
        masks = np.empty((2, n_groups, self._n_dims, PANELS), np.uint16)
        fill_masks(self._n_dims, self.lists, masks)
        sums = aligned((n_groups * PANELS, LANES), np.float32)

        def project(vector: Floats, coordinates: Floats) -> None:
            sum_one(vector, masks, sums, coordinates)

        return project


class SparseSrp(SignFamily):
    """A bit is the sign of a sum of some coordinates, half of them negated."""

    def __init__(self, spec: HashSpec) -> None:
        super().__init__(spec, TernaryProjection(spec))
