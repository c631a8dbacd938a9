"""Winner-take-all hashes: zeros are values like others."""

from __future__ import annotations

import numpy as np

from distlsh.kernels.wta import wta_codes, wta_probes
from distlsh.lsh.families.base import Family, Ids
from distlsh.lsh.families.bins import BinFamily
from distlsh.lsh.rows import Floats
from distlsh.lsh.spec import HashSpec

_LEAST = float(np.finfo(np.float32).min)
"""Loses against every coordinate; unlike infinity it stays a number when a key drops its last bits."""


class Wta(BinFamily):
    """A digit is the place of a bin's largest coordinate."""

    def __init__(self, spec: HashSpec) -> None:
        super().__init__(spec, _LEAST)

    def one_by_one(self) -> Family:
        """Return the same hash functions for few vectors; see `base.Family`."""
        from distlsh.lsh.families.one_wta import OneWta

        return OneWta(self.spec, self.bins, self.pad)

    def hash_lines(self, lines: Floats, out: Ids) -> None:
        """Write the codes."""
        wta_codes(lines, self.bins, self.spec.n_hashes, self.keys, out)

    def probe_lines(self, lines: Floats, out: Ids, scores: Floats) -> None:
        """Write the codes where runners-up win."""
        wta_probes(lines, self.bins, self.spec.step_wise, self.keys, *self.choice_scratch, out, scores)
