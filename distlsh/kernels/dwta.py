"""Densified winner-take-all hashes: which of a bin's coordinates is the largest.

Source: Chen & Shrivastava 2018, "Densified winner take all (WTA) hashing for sparse datasets".
"""

from __future__ import annotations

import numpy as np

from distlsh.kernels._ir import LANES
from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import F4_2, F4_3, I4_1, I4_2, I4_2R, I4_3, U4_2, U8_2, b1, i8, void
from distlsh.kernels.bins import bin_choices
from distlsh.kernels.borrowing import borrow
from distlsh.kernels.lanes import top_value, top_values
from distlsh.kernels.probing import best_codes


@device_function
def _find_donors(keys, n_choices, lane, walks, prime, filled, donors):  # type: ignore[no-untyped-def]
    """Set ``donors`` i4[n_bins] to the bins whose digits one lane's bins use."""
    for bin_ in range(donors.shape[0]):
        donors[bin_] = bin_ if keys[1 + bin_ * n_choices, lane] != 0 else -1
    borrow(walks, prime, filled, donors)


@kernel(void(F4_3, I4_2R, i8, U4_2, i8, I4_1, I4_1, U4_2, I4_2), fastmath=False)
def dwta_codes(lines, bins, n_hashes, walks, prime, filled, donors, keys, out):  # type: ignore[no-untyped-def]
    """Write the code of each row in each table.

    lines     f4[>= ceil(m / 16), > d, 16], from `kernels.blocks`, line d of zeros; a coordinate
              that is exactly 0 is no value
    bins      i4[n_tables * n_hashes, bin_size], from `fill_bins`; bin_size a power of two
    n_hashes  K, digits of a code; a digit is the winner's place in its bin
    walks, prime    by which empty bins borrow: u4[3, bins], from `kernels.borrowing`
    filled, donors  i4[bins], scratch
    keys      u4[>= 8 + bins, 16], scratch
    out       i4[m, n_tables], written, in [0, bin_size**n_hashes)

    Concurrency: scratch is one thread's own.  Allocates: nothing.  Cost: O(bins * bin_size) a row.
    Unchecked: shapes; `lsh.Hasher` checks them.  Source: Chen & Shrivastava 2018, section 3.
    """
    m, n_tables = out.shape
    n_bins, size = bins.shape
    keys[0] = np.uint32(0xFFFFFFFF)
    low = np.uint32(size - 1)
    for first in range(0, m, LANES):
        for bin_ in range(n_bins):
            top_value(lines[first // LANES], bins, bin_, 0, keys, 1 + bin_)
        for lane in range(min(LANES, m - first)):
            _find_donors(keys, 1, lane, walks, prime, filled, donors)
            for table in range(n_tables):
                code = np.int64(0)
                for k in range(n_hashes):
                    donor = donors[table * n_hashes + k]
                    code = code * size + (keys[1 + donor, lane] & low)
                out[first + lane, table] = code


@kernel(void(F4_3, I4_2R, U4_2, i8, I4_1, I4_1, b1, U4_2, F4_2, U8_2, F4_2, U8_2, I4_3, F4_3), fastmath=False)
def dwta_probes(  # type: ignore[no-untyped-def]
    lines, bins, walks, prime, filled, donors, step_wise, keys, costs, parts, totals, sums, out, scores
):
    """Write each query's code in each table, then those where runners-up with small gaps win.

    lines, bins, walks, prime, filled, donors  as for `dwta_codes`
    step_wise     score by steps, not by gaps: the j-th best value of a bin is j steps away
    keys          u4[>= 8 + bins * n_choices, 16], scratch
    costs, parts  f4, u8[n_hashes, n_choices], scratch; n_choices = min(n_codes, bin_size)
    totals, sums  f4, u8[2, n_codes], scratch
    out           i4[m, n_tables, n_codes], written; EMPTY where there are no more buckets
    scores        f4[m or 1, n_tables, n_codes], written; one row is scratch that all share

    Concurrency: scratch is one thread's own.  Allocates: nothing.
    Cost: O(bins * bin_size * log(n_codes)) a row.
    Unchecked: shapes.  Source: Chen & Shrivastava 2018, section 3; Lv et al. 2007, section 4.4.
    """
    m, n_tables = out.shape[0], out.shape[1]
    n_hashes, n_choices = costs.shape
    n_bins, size = bins.shape
    keys[0] = np.uint32(0xFFFFFFFF)
    low = np.uint32(size - 1)
    for first in range(0, m, LANES):
        for bin_ in range(n_bins):
            top_values(lines[first // LANES], bins, bin_, n_choices, keys, 1 + bin_ * n_choices)
        for lane in range(min(LANES, m - first)):
            scored = min(first + lane, scores.shape[0] - 1)
            _find_donors(keys, n_choices, lane, walks, prime, filled, donors)
            for table in range(n_tables):
                weight = np.uint64(1)
                for k in range(n_hashes - 1, -1, -1):
                    at = 1 + donors[table * n_hashes + k] * n_choices
                    bin_choices(keys, at, lane, low, weight, step_wise, costs[k], parts[k])
                    weight *= np.uint64(size)
                best_codes(costs, parts, totals, sums, out[first + lane, table], scores[scored, table])
