"""Pseudo-random rotations: coordinates of many of them cost a few Hadamard transforms."""

from __future__ import annotations

import numpy as np

from distlsh.kernels._ir import LANES
from distlsh.kernels.rotation import MIN_WIDTH, N_OWN, N_SHARED, fill_signs, rotated_coordinates
from distlsh.lsh.families.lines import aligned, u8
from distlsh.lsh.families.projected import ProjectOne
from distlsh.lsh.rows import Floats
from distlsh.lsh.spec import HashSpec


class Rotations:
    """Signs and scratch of as many rotations as ``coordinates_per_hash`` of each hash need."""

    keeps_lines = False

    def __init__(self, spec: HashSpec, coordinates_per_hash: int = 1) -> None:
        padded = 1 << (spec.n_dims - 1).bit_length()
        self.width = max(MIN_WIDTH, padded, coordinates_per_hash)
        needed = spec.n_tables * spec.n_hashes * coordinates_per_hash
        self.n_lines = spec.n_tables * spec.n_hashes
        n_rotations = -(-needed // self.width)
        self.signs: Floats = np.empty((N_SHARED + N_OWN * n_rotations, self.width), np.float32)
        fill_signs(u8(spec.seed), self.signs)
        self.turned = aligned((self.width, LANES), np.float32)

    def project(self, lines: Floats, coordinates: Floats) -> None:
        """Write the coordinates f4[n_blocks, n, 16]; overwrites ``lines`` f4[>= n_blocks, width, 16]."""
        rotated_coordinates(lines, self.signs, self.turned, coordinates)

    def one(self) -> ProjectOne:
        """See `projected.Projection`."""
        from distlsh.kernels.one_rotation import one_rotated

        spread, turned = self.one_scratch()

        def project(vector: Floats, coordinates: Floats) -> None:
            one_rotated(vector.reshape(-1, LANES), self.signs, spread, turned, coordinates)

        return project

    def one_scratch(self) -> tuple[Floats, Floats]:
        """Return what `kernels.one_rotation.rotate_one` writes: the spread vector, and all its rotations."""
        n_rotations = (len(self.signs) - N_SHARED) // N_OWN
        n_lines = self.width // LANES
        return aligned((n_lines, LANES), np.float32), aligned((n_rotations * n_lines, LANES), np.float32)
