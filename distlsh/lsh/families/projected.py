"""Families that read one coordinate a hash off projections, of whatever kind."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from distlsh.kernels._ir import LANES
from distlsh.kernels.sign_bits import sign_codes, sign_probes
from distlsh.lsh.families.base import Family, Ids
from distlsh.lsh.families.lines import LineFamily, aligned
from distlsh.lsh.rows import Floats, Rows, SparseRows
from distlsh.lsh.spec import HashSpec

_SPARSE = 0.25
"""Share of non-zeros from which on it is faster to load sparse rows into lines."""


ProjectOne = Callable[[Floats, Floats], None]
"""Of a vector f4[>= width], a multiple of 16, writes coordinates f4[n_lines, 16]: the first column."""


class Projection(Protocol):
    """A projection for each of n_tables * n_hashes hashes."""

    width: int  # lines that it wants
    n_lines: int  # coordinates that it writes: one a hash, and perhaps some to fill up
    keeps_lines: bool  # it leaves lines as they are

    def one(self) -> ProjectOne:
        """Return the same projections, to the last bit, of one vector: loads the kernel that makes them."""

    def project(self, lines: Floats, coordinates: Floats) -> None:
        """Write coordinates f4[n_blocks, n_lines, 16] of vectors in ``lines`` f4[>= n_blocks, width, 16]."""


@runtime_checkable
class SparseProjection(Projection, Protocol):
    """A projection that takes sparse rows in a time of their non-zeros, to the same last bit."""

    def project_sparse(self, rows: SparseRows, first: int, last: int, coordinates: Floats) -> None:
        """Write the coordinates f4[n_blocks, n_lines, 16] of rows [first, last)."""


class ProjectedFamily(LineFamily):
    """Hashes coordinates f4[n_blocks, >= n_tables * n_hashes, 16] that a projection computes."""

    def __init__(self, spec: HashSpec, projection: Projection) -> None:
        self.projection = projection
        n = projection.n_lines
        super().__init__(spec, projection.width, keeps_lines=projection.keeps_lines, more_lines=n)
        self._coordinates = aligned((self.n_blocks, n, LANES), np.float32)

    def codes(self, rows: Rows, center: Floats | None, out: Ids) -> None:
        """Write the code of each row in each table; see `base.Family`."""
        found = self._gathered(rows, center)
        if found is None:
            super().codes(rows, center, out)
            return
        for first, last in found:
            self.hash_coordinates(self._coordinates, out[first:last])

    def probes(self, rows: Rows, center: Floats | None, out: Ids, scores: Floats) -> None:
        """Write each query's codes in each table; see `base.Family`."""
        found = self._gathered(rows, center)
        if found is None:
            super().probes(rows, center, out, scores)
            return
        shared = len(scores) != len(out)
        for first, last in found:
            self.probe_coordinates(
                self._coordinates, out[first:last], scores if shared else scores[first:last]
            )

    def hash_lines(self, lines: Floats, out: Ids) -> None:
        """Project, then hash."""
        self.hash_coordinates(self._project(lines, len(out)), out)

    def probe_lines(self, lines: Floats, out: Ids, scores: Floats) -> None:
        """Project, then choose the codes."""
        self.probe_coordinates(self._project(lines, len(out)), out, scores)

    def one_by_one(self) -> Family:
        """Return the same hash functions for few vectors; see `base.Family`."""
        from distlsh.lsh.families.one_projected import OneProjected

        return OneProjected(self)

    @abstractmethod
    def hash_coordinates(self, coordinates: Floats, out: Ids) -> None:
        """Write the codes i4[m, n_tables] of m vectors by their coordinates."""

    @abstractmethod
    def probe_coordinates(self, coordinates: Floats, out: Ids, scores: Floats) -> None:
        """Write the probes i4[m, n_tables, n_codes] and scores f4[m or 1, ...] of m vectors."""

    def _project(self, lines: Floats, m: int) -> Floats:
        found = self._coordinates[: -(-m // LANES)]
        self.projection.project(lines, found)
        return found

    def _gathered(self, rows: Rows, center: Floats | None) -> Iterator[tuple[int, int]] | None:
        """Return the ranges of rows whose coordinates are gathered; None: load them into lines."""
        projection = self.gathering(rows, center)
        if projection is None or not isinstance(rows, SparseRows):
            return None
        return self._gather(projection, rows)

    def gathering(self, rows: Rows, center: Floats | None) -> SparseProjection | None:
        """Return the projection if it takes ``rows`` by their non-zeros faster than by lines."""
        if not isinstance(rows, SparseRows) or center is not None:
            return None
        if not isinstance(self.projection, SparseProjection):
            return None
        n_nonzeros = int(rows.indptr[-1] - rows.indptr[0])
        return self.projection if n_nonzeros <= _SPARSE * rows.n_rows * rows.n_dims else None

    def _gather(self, projection: SparseProjection, rows: SparseRows) -> Iterator[tuple[int, int]]:
        step = LANES * self.n_blocks
        for first in range(0, rows.n_rows, step):
            last = min(first + step, rows.n_rows)
            projection.project_sparse(rows, first, last, self._coordinates)
            yield first, last


class SignFamily(ProjectedFamily):
    """Signs of coordinates: codes for angles."""

    def __init__(self, spec: HashSpec, projection: Projection) -> None:
        super().__init__(spec, projection)
        self._bits = aligned((spec.n_tables, LANES), np.int32)
        self._margins = np.zeros(spec.n_hashes, np.float32)
        self._totals = np.zeros((3, spec.n_codes), np.float32)
        self._sums = np.zeros((3, spec.n_codes), np.int32)

    def hash_coordinates(self, coordinates: Floats, out: Ids) -> None:
        """Write the codes."""
        sign_codes(coordinates, self.spec.n_hashes, self._bits, out)

    def probe_coordinates(self, coordinates: Floats, out: Ids, scores: Floats) -> None:
        """Write the codes that flip the least certain bits."""
        scratch = (self._margins, self._totals, self._sums)
        sign_probes(coordinates, self.spec.step_wise, *scratch, out, scores)
