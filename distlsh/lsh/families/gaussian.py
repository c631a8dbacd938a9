"""Gaussian projections."""

from __future__ import annotations

import numpy as np

from distlsh.kernels._ir import LANES
from distlsh.kernels.gaussian import GROUP, fill_gaussian, project_lines, project_sparse
from distlsh.lsh.families.lines import aligned, u8
from distlsh.lsh.families.projected import ProjectOne
from distlsh.lsh.rows import Floats, SparseRows
from distlsh.lsh.spec import HashSpec

_PANELS = GROUP * LANES


class GaussianProjection:
    """A column of independent standard normal numbers for each hash."""

    keeps_lines = True

    def __init__(self, spec: HashSpec) -> None:
        n_columns = spec.n_tables * spec.n_hashes
        self.width = spec.n_dims
        self.n_lines = -(-n_columns // _PANELS) * _PANELS
        self.panels: Floats = aligned((self.n_lines // LANES, spec.n_dims, LANES), np.float32)
        fill_gaussian(u8(spec.seed), n_columns, self.panels)
        self._sums = aligned((self.n_lines // LANES, LANES), np.float32)

    def project(self, lines: Floats, coordinates: Floats) -> None:
        """See `projected.Projection`."""
        project_lines(lines, self.panels, coordinates)

    def project_sparse(self, rows: SparseRows, first: int, last: int, coordinates: Floats) -> None:
        """See `projected.Projection`."""
        where = (rows.indptr, rows.indices, rows.values, first, last)
        project_sparse(*where, self.panels, self._sums, coordinates)

    def one(self) -> ProjectOne:
        """See `projected.Projection`."""
        from distlsh.kernels.one_gaussian import project_one

        def project(vector: Floats, coordinates: Floats) -> None:
            project_one(vector, self.panels, self._sums, coordinates)

        return project
