"""Families of bins that take one vector at a time."""

from __future__ import annotations

import numpy as np

from distlsh.kernels._ir import LANES
from distlsh.kernels.lanes import MAX_TOP
from distlsh.kernels.one_bins import group_bins
from distlsh.lsh.families.base import Ids
from distlsh.lsh.families.lines import aligned, choice_scratch
from distlsh.lsh.families.one_vector import OneVector
from distlsh.lsh.spec import HashSpec


class OneBinVector(OneVector):
    """Bins in groups of 16, and scratch."""

    def __init__(self, spec: HashSpec, bins: Ids, pad: float) -> None:
        super().__init__(spec, spec.n_dims + 1, pad)
        n_bins, size = bins.shape
        n_groups = -(-n_bins // LANES)
        self.groups: Ids = aligned((n_groups, size, LANES), np.int32)
        group_bins(bins, self.groups)
        self.places: Ids = np.arange(size, dtype=np.int32)[np.newaxis]
        self.lines = aligned((size, LANES), np.float32)
        self.keys = aligned((1 + MAX_TOP + n_groups * spec.n_choices, LANES), np.uint32)
        self.choice_scratch = choice_scratch(spec)
