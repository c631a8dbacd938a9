"""Bins of winner-take-all hashes: which dimensions a hash compares, and what its winner beat.

Source: Yagnik et al. 2011, "The power of comparative reasoning"; Chen & Shrivastava 2018,
"Densified winner take all (WTA) hashing for sparse datasets".
"""

from __future__ import annotations

import numpy as np

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import I4_1, I4_2, i8, u8, void
from distlsh.kernels.lanes import float_of
from distlsh.kernels.probing import NO_COST
from distlsh.kernels.random import below, mix64


@kernel(void(u8, i8, I4_1, I4_2))
def fill_bins(seed, n_dims, order, bins):  # type: ignore[no-untyped-def]
    """Cut random permutations of the dimensions into bins.

    n_dims  d, dimensions of a vector
    order   i4[n_dims], scratch
    bins    i4[n_bins, bin_size], written: dimensions; ``n_dims`` (a line of zeros) where
            a vector is narrower than a bin

    A permutation gives n_dims // bin_size bins, so hashes of one permutation share no dimension.

    Concurrency: any.  Allocates: nothing of size.  Cost: O(n_bins * bin_size).
    Source: Chen & Shrivastava 2018, section 3 (one batch of permutations for all hashes).
    """
    n_bins, size = bins.shape
    per_order = max(1, n_dims // size)
    state = np.empty(1, np.uint64)
    state[0] = mix64(seed)
    for i in range(n_dims):
        order[i] = i
    for row in range(n_bins):
        start = row % per_order * size
        if start == 0:
            for i in range(n_dims - 1, 0, -1):
                j = below(state, i + 1)
                order[i], order[j] = order[j], order[i]
        for j in range(size):
            bins[row, j] = order[start + j] if start + j < n_dims else n_dims


@device_function
def _value_of(key, low):  # type: ignore[no-untyped-def]
    """Return the value that an order key was made of, but for its lowest bits."""
    bits = key & ~low
    if bits & np.uint32(0x80000000):
        return float_of(bits ^ np.uint32(0x80000000))
    return float_of(~bits)


@device_function
def bin_choices(keys, at, lane, low, weight, step_wise, costs, parts):  # type: ignore[no-untyped-def]
    """Turn one lane's keys of a bin into parts of a code and their squared gaps to the winner.

    keys    u4[n, 16], order keys from line ``at`` on, descending; 0: no value
    low     bin_size - 1
    weight  u8, of the bin's digit in the code
    costs, parts  f4, u8[n_choices], written; NO_COST where there is no value
    """
    best = _value_of(keys[at, lane], low)
    for j in range(costs.shape[0]):
        key = keys[at + j, lane]
        parts[j] = np.uint64(key & low) * weight
        if key == 0:
            costs[j] = NO_COST if j > 0 else np.float32(0.0)
        elif step_wise:
            costs[j] = np.float32(j)
        else:
            gap = best - _value_of(key, low)
            costs[j] = gap * gap
