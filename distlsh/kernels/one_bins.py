"""Bins of a single vector, gathered 16 at a time: a lane is a bin."""

from __future__ import annotations

from distlsh.kernels._ir import LANES, exact_function
from distlsh.kernels._jit import kernel
from distlsh.kernels._types import I4_2R, I4_3, u4, void


@kernel(void(I4_2R, I4_3))
def group_bins(bins, groups):  # type: ignore[no-untyped-def]
    """Write bins i4[n_bins, size] as ``groups`` i4[ceil(n_bins / 16), size, 16], zeros after the last bin.

    Concurrency: any.  Allocates: nothing.  Cost: O(n_bins * size).
    """
    groups[:] = 0
    for bin_ in range(bins.shape[0]):
        for j in range(bins.shape[1]):
            groups[bin_ // LANES, j, bin_ % LANES] = bins[bin_, j]


@exact_function
def gather_bins(vector, groups, group, lines):  # type: ignore[no-untyped-def]
    """Set ``lines`` f4[size, 16] to the coordinates of ``vector`` f4[> d] that 16 bins name."""
    for j in range(lines.shape[0]):
        for lane in range(LANES):
            lines[j, lane] = vector[u4(groups[group, j, lane])]
