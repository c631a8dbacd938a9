"""Cross-polytope hashes on fast rotations: the nearest signed axis of a rotated vector."""

from __future__ import annotations

import numpy as np

from distlsh.kernels._ir import LANES
from distlsh.kernels.cross_polytope import cross_polytope_codes, cross_polytope_probes
from distlsh.kernels.lanes import MAX_TOP
from distlsh.lsh.families.base import Family, Ids
from distlsh.lsh.families.lines import LineFamily, aligned, choice_scratch
from distlsh.lsh.families.rotations import Rotations
from distlsh.lsh.rows import Floats
from distlsh.lsh.spec import HashSpec


class CrossPolytope(LineFamily):
    """A digit is the axis, of ``dim`` and their opposites, that a rotated vector is nearest to."""

    def __init__(self, spec: HashSpec) -> None:
        self._turns = Rotations(spec, spec.dim)
        super().__init__(spec, self._turns.width)
        blocks = spec.n_tables * spec.n_hashes
        self._keys = aligned((2 + MAX_TOP + blocks * spec.n_choices, LANES), np.uint32)
        self._choice_scratch = choice_scratch(spec)

    def one_by_one(self) -> Family:
        """Return the same hash functions for few vectors; see `base.Family`."""
        from distlsh.lsh.families.one_cross_polytope import OneCrossPolytope

        return OneCrossPolytope(self.spec, self._turns)

    def hash_lines(self, lines: Floats, out: Ids) -> None:
        """Write the codes."""
        turns, spec = self._turns, self.spec
        cross_polytope_codes(lines, turns.signs, spec.dim, spec.n_hashes, turns.turned, self._keys, out)

    def probe_lines(self, lines: Floats, out: Ids, scores: Floats) -> None:
        """Write the codes of the next best axes."""
        turns, spec = self._turns, self.spec
        scratch = (turns.turned, self._keys, *self._choice_scratch)
        cross_polytope_probes(lines, turns.signs, spec.dim, spec.step_wise, *scratch, out, scores)
