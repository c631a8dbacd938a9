"""Families whose digits are the places of the largest coordinates in bins of dimensions."""

from __future__ import annotations

import numpy as np

from distlsh.kernels._ir import LANES
from distlsh.kernels.bins import fill_bins
from distlsh.kernels.lanes import MAX_TOP
from distlsh.lsh.families.base import Ids
from distlsh.lsh.families.lines import LineFamily, aligned, choice_scratch, u8
from distlsh.lsh.spec import HashSpec


class BinFamily(LineFamily):
    """Bins of random dimensions, and scratch.

    pad  what the line holds that stands in for missing dimensions
    """

    def __init__(self, spec: HashSpec, pad: float) -> None:
        super().__init__(spec, spec.n_dims + 1, pad=pad, keeps_lines=True)
        self.pad = pad
        n_bins = spec.n_tables * spec.n_hashes
        self.bins: Ids = np.empty((n_bins, spec.bin_size), np.int32)
        fill_bins(u8(spec.seed), spec.n_dims, np.empty(spec.n_dims, np.int32), self.bins)
        self.keys = aligned((1 + MAX_TOP + n_bins * spec.n_choices, LANES), np.uint32)
        self.choice_scratch = choice_scratch(spec)
