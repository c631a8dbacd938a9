"""Families that read one coordinate a hash off projections, of whatever kind."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

import numpy as np

from distlsh.kernels.lanes import LANES
from distlsh.kernels.sign_bits import sign_codes, sign_probes
from distlsh.lsh.families.base import Ids
from distlsh.lsh.families.lines import LineFamily, aligned
from distlsh.lsh.rows import Floats
from distlsh.lsh.spec import HashSpec


class Projection(Protocol):
    """A projection a hash: n_tables * n_hashes of them."""

    width: int  # lines that it wants
    keeps_lines: bool  # it leaves them as they are

    def project(self, lines: Floats, coordinates: Floats) -> None:
        """Write the vectors' coordinates f4[n_blocks, n, 16]; ``lines`` is f4[>= n_blocks, width, 16]."""


class ProjectedFamily(LineFamily):
    """Hashes coordinates f4[n_blocks, n_tables * n_hashes, 16] that a projection computes."""

    def __init__(self, spec: HashSpec, projection: Projection) -> None:
        self.projection = projection
        n = spec.n_tables * spec.n_hashes
        super().__init__(spec, projection.width, keeps_lines=projection.keeps_lines, more_lines=n)
        self._coordinates = aligned((self.n_blocks, n, LANES), np.float32)

    def hash_lines(self, lines: Floats, out: Ids) -> None:
        """Project, then hash."""
        self.hash_coordinates(self._project(lines, len(out)), out)

    def probe_lines(self, lines: Floats, out: Ids, scores: Floats) -> None:
        """Project, then choose the codes."""
        self.probe_coordinates(self._project(lines, len(out)), out, scores)

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
