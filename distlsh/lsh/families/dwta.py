"""Densified winner-take-all hashes."""

from __future__ import annotations

import numpy as np

from distlsh.kernels.bins import fill_bins
from distlsh.kernels.dwta import dwta_codes, dwta_probes
from distlsh.kernels.lanes import LANES, MAX_TOP
from distlsh.lsh.families.base import Ids
from distlsh.lsh.families.lines import LineFamily, aligned, u8
from distlsh.lsh.rows import Floats
from distlsh.lsh.spec import HashSpec


class BinFamily(LineFamily):
    """Bins of dimensions, and scratch, of the families whose digits are winners' places.

    pad  what the line holds that stands in for missing dimensions
    """

    def __init__(self, spec: HashSpec, pad: float) -> None:
        super().__init__(spec, spec.n_dims + 1, pad=pad, keeps_lines=True)
        n_bins = spec.n_tables * spec.n_hashes
        self.bins: Ids = np.empty((n_bins, spec.bin_size), np.int32)
        fill_bins(u8(spec.seed), spec.n_dims, np.empty(spec.n_dims, np.int32), self.bins)
        self.keys = aligned((1 + MAX_TOP + n_bins * spec.n_choices, LANES), np.uint32)
        self.choice_scratch = (
            np.zeros((spec.n_hashes, spec.n_choices), np.float32),
            np.zeros((spec.n_hashes, spec.n_choices), np.uint64),
            np.zeros((2, spec.n_codes), np.float32),
            np.zeros((2, spec.n_codes), np.uint64),
        )


class Dwta(BinFamily):
    """A digit is the place of a bin's largest value; zeros are no values, and empty bins borrow."""

    def __init__(self, spec: HashSpec) -> None:
        super().__init__(spec, 0.0)
        self._seed = u8(spec.seed)

    def hash_lines(self, lines: Floats, out: Ids) -> None:
        """Write the codes."""
        dwta_codes(lines, self.bins, self.spec.n_hashes, self._seed, self.keys, out)

    def probe_lines(self, lines: Floats, out: Ids, scores: Floats) -> None:
        """Write the codes where runners-up win."""
        scratch = (self.keys, *self.choice_scratch)
        dwta_probes(lines, self.bins, self._seed, self.spec.step_wise, *scratch, out, scores)
