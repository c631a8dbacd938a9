"""Slots of Gaussian projections: codes for Euclidean distances.

Source: Datar et al. 2004, "Locality-sensitive hashing scheme based on p-stable distributions",
section 3.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distlsh.kernels.mixing import fill_multipliers
from distlsh.kernels.slots import fill_offsets, slot_codes, slot_probes
from distlsh.lsh.families.base import Ids
from distlsh.lsh.families.gaussian import GaussianProjection
from distlsh.lsh.families.lines import u8
from distlsh.lsh.families.projected import ProjectedFamily
from distlsh.lsh.rows import Floats
from distlsh.lsh.spec import HashSpec


class L2(ProjectedFamily):
    """K slots, of width ``l2_width``, that K projections fall into, hashed to ``code_bits``."""

    def __init__(self, spec: HashSpec) -> None:
        super().__init__(spec, GaussianProjection(spec))
        self._offsets: Floats = np.empty(spec.n_tables * spec.n_hashes, np.float32)
        fill_offsets(u8(spec.seed), self._offsets)
        self._multipliers: NDArray[np.uint64] = np.empty((spec.n_tables, 1 + spec.n_hashes), np.uint64)
        fill_multipliers(u8(~spec.seed), self._multipliers)
        # With few bits, slots often share a code: what is dropped then needs more to take its place.
        spare = 1 if spec.code_bits >= 12 else spec.n_codes
        self._scratch = (
            np.zeros((spec.n_hashes, spec.n_choices), np.float32),
            np.zeros((spec.n_hashes, spec.n_choices), np.uint64),
            np.zeros((2, spec.n_codes + spare), np.float32),
            np.zeros((2, spec.n_codes + spare), np.uint64),
        )
        self._hash = (np.float32(1 / spec.l2_width), self._offsets, self._multipliers, spec.code_bits)

    def hash_coordinates(self, coordinates: Floats, out: Ids) -> None:
        """Write the codes."""
        slot_codes(coordinates, *self._hash, out)

    def probe_coordinates(self, coordinates: Floats, out: Ids, scores: Floats) -> None:
        """Write the codes of the slots beside a query's."""
        slot_probes(coordinates, *self._hash, self.spec.step_wise, *self._scratch, out, scores)
