"""Densified winner-take-all hashes of a single vector.

Source: Chen & Shrivastava 2018, "Densified winner take all (WTA) hashing for sparse datasets".
"""

from __future__ import annotations

import numpy as np

from distlsh.kernels._ir import LANES
from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import F4_1, F4_2, I4_1, I4_2, I4_2R, I4_3, U4_2, U8_2, b1, i8, void
from distlsh.kernels.bins import bin_choices
from distlsh.kernels.borrowing import borrow
from distlsh.kernels.lanes import top_value, top_values
from distlsh.kernels.one_bins import gather_bins
from distlsh.kernels.probing import best_codes


@device_function
def _find_donors(keys, n_choices, walks, prime, filled, donors):  # type: ignore[no-untyped-def]
    """Set ``donors`` i4[n_bins] to the bins whose digits the vector's bins use."""
    for bin_ in range(donors.shape[0]):
        donors[bin_] = bin_ if keys[1 + bin_ // LANES * n_choices, bin_ % LANES] != 0 else -1
    borrow(walks, prime, filled, donors)


@kernel(void(F4_1, I4_3, I4_2R, i8, U4_2, i8, I4_1, I4_1, F4_2, U4_2, I4_1), fastmath=False)
def one_dwta_codes(  # type: ignore[no-untyped-def]
    vector, groups, places, n_hashes, walks, prime, filled, donors, lines, keys, out
):
    """Write the code of a vector in each table: what `dwta.dwta_codes` writes.

    vector    f4[> d], place d 0; a coordinate that is exactly 0 is no value
    groups    i4[n_groups, bin_size, 16], from `one_bins.group_bins`
    places    i4[1, bin_size]: 0, 1, ...
    n_hashes  K, digits of a code
    walks, prime    by which empty bins borrow: u4[3, bins], from `kernels.borrowing`
    filled, donors  i4[bins], scratch
    lines     f4[bin_size, 16], scratch
    keys      u4[>= 1 + n_groups, 16], scratch
    out       i4[n_tables], written

    Concurrency: scratch is one thread's own.  Allocates: nothing.  Cost: O(bins * bin_size).
    Unchecked: shapes; `lsh.Hasher` checks them.  Source: Chen & Shrivastava 2018, section 3.
    """
    size = places.shape[1]
    low = np.uint32(size - 1)
    keys[0] = np.uint32(0xFFFFFFFF)
    for group in range(groups.shape[0]):
        gather_bins(vector, groups, group, lines)
        top_value(lines, places, 0, 0, keys, 1 + group)
    _find_donors(keys, 1, walks, prime, filled, donors)
    for table in range(out.shape[0]):
        code = np.int64(0)
        for bin_ in range(table * n_hashes, (table + 1) * n_hashes):
            donor = donors[bin_]
            code = code * size + (keys[1 + donor // LANES, donor % LANES] & low)
        out[table] = code


@kernel(
    void(F4_1, I4_3, I4_2R, U4_2, i8, I4_1, I4_1, b1, F4_2, U4_2, F4_2, U8_2, F4_2, U8_2, I4_2, F4_2),
    fastmath=False,
)
def one_dwta_probes(  # type: ignore[no-untyped-def]
    vector, groups, places, walks, prime, filled, donors, step_wise, lines, keys,
    costs, parts, totals, sums, out, scores,
):  # fmt: skip
    """Write a query's codes in each table: what `dwta.dwta_probes` writes.

    vector, groups, places, walks, prime, filled, donors, lines  as for `one_dwta_codes`
    step_wise, costs, parts, totals, sums  as for `dwta.dwta_probes`
    keys         u4[>= 8 + n_choices * (1 + n_groups), 16], scratch
    out, scores  i4, f4[n_tables, n_codes], written

    Concurrency: scratch is one thread's own.  Allocates: nothing.
    Cost: O(bins * bin_size * log(n_codes)).
    Unchecked: shapes.  Source: Chen & Shrivastava 2018, section 3; Lv et al. 2007, section 4.4.
    """
    n_hashes, n_choices = costs.shape
    size = places.shape[1]
    low = np.uint32(size - 1)
    keys[0] = np.uint32(0xFFFFFFFF)
    for group in range(groups.shape[0]):
        gather_bins(vector, groups, group, lines)
        top_values(lines, places, 0, n_choices, keys, 1 + group * n_choices)
    _find_donors(keys, n_choices, walks, prime, filled, donors)
    for table in range(out.shape[0]):
        weight = np.uint64(1)
        for k in range(n_hashes - 1, -1, -1):
            donor = donors[table * n_hashes + k]
            at = 1 + donor // LANES * n_choices
            bin_choices(keys, at, donor % LANES, low, weight, step_wise, costs[k], parts[k])
            weight *= np.uint64(size)
        best_codes(costs, parts, totals, sums, out[table], scores[table])
