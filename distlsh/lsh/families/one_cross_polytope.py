"""Cross-polytope hashes of one vector at a time."""

from __future__ import annotations

import numpy as np

from distlsh.kernels._ir import LANES
from distlsh.kernels.lanes import MAX_TOP
from distlsh.kernels.one_cross_polytope import one_cross_polytope_codes, one_cross_polytope_probes
from distlsh.lsh.families.base import Ids
from distlsh.lsh.families.lines import aligned, choice_scratch
from distlsh.lsh.families.one_vector import OneVector
from distlsh.lsh.families.rotations import Rotations
from distlsh.lsh.rows import Floats
from distlsh.lsh.spec import HashSpec


class OneCrossPolytope(OneVector):
    """The hash functions of `cross_polytope.CrossPolytope`."""

    def __init__(self, spec: HashSpec, turns: Rotations) -> None:
        super().__init__(spec, turns.width)
        spread, turned = turns.one_scratch()
        blocks = turned.reshape(-1, spec.dim)
        n_groups = -(-spec.n_tables * spec.n_hashes // LANES)
        self._keys = aligned((1 + MAX_TOP + n_groups * spec.n_choices, LANES), np.uint32)
        lines = aligned((spec.dim, LANES), np.float32)
        self._vector, self._signs = self.vector.reshape(-1, LANES), turns.signs
        self._scratch = spread, turned, blocks, np.zeros(spec.dim, np.float32), lines, self._keys
        self._choice_scratch = choice_scratch(spec)

    def hash_one(self, out: Ids) -> None:
        """Write the codes."""
        one_cross_polytope_codes(self._vector, self._signs, self.spec.n_hashes, *self._scratch, out)

    def probe_one(self, out: Ids, scores: Floats) -> None:
        """Write the codes of the next best axes."""
        scratch = (*self._scratch, *self._choice_scratch)
        one_cross_polytope_probes(self._vector, self._signs, self.spec.step_wise, *scratch, out, scores)
