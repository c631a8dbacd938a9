"""Families that read coordinates off projections, one vector at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from distlsh.kernels._ir import LANES
from distlsh.lsh.families.base import Ids
from distlsh.lsh.families.lines import aligned
from distlsh.lsh.families.one_vector import OneVector
from distlsh.lsh.families.projected import ProjectedFamily
from distlsh.lsh.rows import Floats, Rows, SparseRows


class OneProjected(OneVector):
    """The hash functions of a projected family, whose kernels take coordinates row by row anyway."""

    def __init__(self, family: ProjectedFamily) -> None:
        super().__init__(family.spec, family.projection.width)
        self._family = family
        self._project = family.projection.one()
        self._coordinates = aligned((1, family.projection.n_lines, LANES), np.float32)

    def hash_one(self, out: Ids) -> None:
        """Write the codes."""
        self._family.hash_coordinates(self._coordinates, out[np.newaxis])

    def probe_one(self, out: Ids, scores: Floats) -> None:
        """Write the codes of the least certain hashes."""
        self._family.probe_coordinates(self._coordinates, out[np.newaxis], scores[np.newaxis])

    def loaded(self, rows: Rows, center: Floats | None) -> Iterator[int]:
        """Project a row after the other; yield its number."""
        gathering = self._family.gathering(rows, center)
        if gathering is not None and isinstance(rows, SparseRows):
            for row in range(rows.n_rows):
                gathering.project_sparse(rows, row, row + 1, self._coordinates)
                yield row
            return
        for row in super().loaded(rows, center):
            self._project(self.vector, self._coordinates[0])
            yield row
