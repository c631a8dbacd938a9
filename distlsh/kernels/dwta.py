"""Densified winner-take-all hashes: which of a bin's coordinates is the largest.

Source: Chen & Shrivastava 2018, "Densified winner take all (WTA) hashing for sparse datasets".
"""

from __future__ import annotations

import numpy as np

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import F4_1R, F4_2, F4_2R, I4_1, I4_2, I4_2R, I4_3, U4_2, i8, u8, void
from distlsh.kernels.lanes import LANES, float_of, top_value, top_values
from distlsh.kernels.probing import NO_COST, best_codes
from distlsh.kernels.random import below, mix64, scaled
from distlsh.kernels.rotation import load_block

MAX_ATTEMPTS = 100
"""Bins that an empty one asks before its digit is 0."""


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
def _donor(keys, bin_, n_choices, n_bins, lane, seed):  # type: ignore[no-untyped-def]
    """Return the bin whose digits ``bin_`` uses: itself, or where empty another by a universal hash."""
    if keys[1 + bin_ * n_choices, lane] != 0:
        return bin_
    for attempt in range(MAX_ATTEMPTS):
        hashed = mix64(seed ^ mix64(u8(bin_) * u8(MAX_ATTEMPTS) + u8(attempt)))
        other = scaled(hashed, n_bins)
        if keys[1 + other * n_choices, lane] != 0:
            return other
    return bin_


@kernel(void(F4_2R, F4_1R, I4_2R, i8, u8, F4_2, U4_2, I4_2))
def dwta_codes(rows, center, bins, n_hashes, seed, lines, keys, out):  # type: ignore[no-untyped-def]
    """Write the code of each row in each table.

    rows      f4[m, d]; a coordinate that is exactly 0 is no value
    center    f4[d], subtracted from each row
    bins      i4[n_tables * n_hashes, bin_size], from `fill_bins`; bin_size a power of two
    n_hashes  K, digits of a code; a digit is the winner's place in its bin
    seed      of the universal hash by which empty bins borrow
    lines     f4[d + 1, 16], scratch; the last line becomes 0
    keys      u4[>= 8 + bins, 16], scratch
    out       i4[m, n_tables], written, in [0, bin_size**n_hashes)

    Concurrency: scratch is one thread's own; rows may change meanwhile.  Allocates: nothing.
    Cost: O(bins * bin_size) a row.
    Unchecked: shapes; `lsh.Hasher` checks them.  Source: Chen & Shrivastava 2018, section 3.
    """
    m, n_tables = out.shape
    n_bins, size = bins.shape
    keys[0] = np.uint32(0xFFFFFFFF)
    low = np.uint32(size - 1)
    for first in range(0, m, LANES):
        load_block(rows, first, m - 1, center, lines)
        lines[rows.shape[1]] = 0.0
        for bin_ in range(n_bins):
            top_value(lines, bins, bin_, 0, keys, 1 + bin_)
        for lane in range(min(LANES, m - first)):
            for table in range(n_tables):
                code = np.int64(0)
                for k in range(n_hashes):
                    donor = _donor(keys, table * n_hashes + k, 1, n_bins, lane, seed)
                    code = code * size + (keys[1 + donor, lane] & low)
                out[first + lane, table] = code


@device_function
def _value_of(key, low):  # type: ignore[no-untyped-def]
    """Return the value that an order key was made of, but for its lowest bits."""
    bits = key & ~low
    if bits & np.uint32(0x80000000):
        return float_of(bits ^ np.uint32(0x80000000))
    return float_of(~bits)


@device_function
def _choices(keys, at, lane, low, costs, digits):  # type: ignore[no-untyped-def]
    """Turn one lane's keys of a bin into digits and their squared gaps to the winner."""
    best = _value_of(keys[at, lane], low)
    for j in range(costs.shape[0]):
        key = keys[at + j, lane]
        digits[j] = key & low
        if key == 0:
            costs[j] = NO_COST if j > 0 else np.float32(0.0)
        else:
            gap = best - _value_of(key, low)
            costs[j] = gap * gap


@kernel(void(F4_2R, F4_1R, I4_2R, u8, F4_2, U4_2, F4_2, I4_2, F4_2, I4_2, I4_3))
def dwta_probes(  # type: ignore[no-untyped-def]
    rows, center, bins, seed, lines, keys, costs, digits, totals, codes, out
):
    """Write each query's code in each table, then those where runners-up with small gaps win.

    rows, center, bins, seed, lines  as for `dwta_codes`
    keys           u4[>= 8 + bins * n_choices, 16], scratch
    costs, digits  f4, i4[n_hashes, n_choices], scratch; n_choices = min(n_probes + 1, bin_size)
    totals, codes  f4, i4[2, 1 + n_probes], scratch
    out            i4[m, n_tables, 1 + n_probes], written; EMPTY where there are no more buckets

    Concurrency: scratch is one thread's own.  Allocates: nothing.
    Cost: O(bins * bin_size * log(n_probes)) a row.
    Unchecked: shapes.  Source: Chen & Shrivastava 2018, section 3; Lv et al. 2007, section 4.4.
    """
    m, n_tables = out.shape[0], out.shape[1]
    n_hashes, n_choices = costs.shape
    n_bins, size = bins.shape
    keys[0] = np.uint32(0xFFFFFFFF)
    low = np.uint32(size - 1)
    for first in range(0, m, LANES):
        load_block(rows, first, m - 1, center, lines)
        lines[rows.shape[1]] = 0.0
        for bin_ in range(n_bins):
            top_values(lines, bins, bin_, n_choices, keys, 1 + bin_ * n_choices)
        for lane in range(min(LANES, m - first)):
            for table in range(n_tables):
                for k in range(n_hashes):
                    donor = _donor(keys, table * n_hashes + k, n_choices, n_bins, lane, seed)
                    _choices(keys, 1 + donor * n_choices, lane, low, costs[k], digits[k])
                best_codes(costs, digits, size, totals, codes, out[first + lane, table])
