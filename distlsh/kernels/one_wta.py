"""Winner-take-all hashes of a single vector.

Source: Yagnik, Strelow, Ross & Lin 2011, "The power of comparative reasoning", section 2.
"""

from __future__ import annotations

import numpy as np

from distlsh.kernels._ir import LANES
from distlsh.kernels._jit import kernel
from distlsh.kernels._types import F4_1, F4_2, I4_1, I4_2, I4_2R, I4_3, U4_2, U8_2, b1, i8, void
from distlsh.kernels.bins import bin_choices
from distlsh.kernels.lanes import top_place, top_places
from distlsh.kernels.one_bins import gather_bins
from distlsh.kernels.probing import best_codes


@kernel(void(F4_1, I4_3, I4_2R, i8, F4_2, U4_2, I4_1), fastmath=False)
def one_wta_codes(vector, groups, places, n_hashes, lines, keys, out):  # type: ignore[no-untyped-def]
    """Write the code of a vector in each table: what `wta.wta_codes` writes.

    vector    f4[> d], place d the least float32
    groups    i4[n_groups, bin_size, 16], from `one_bins.group_bins`
    places    i4[1, bin_size]: 0, 1, ...
    n_hashes  K, digits of a code
    lines     f4[bin_size, 16], scratch
    keys      u4[>= 1 + n_groups, 16], scratch
    out       i4[n_tables], written

    Concurrency: scratch is one thread's own.  Allocates: nothing.  Cost: O(bins * bin_size).
    Unchecked: shapes; `lsh.Hasher` checks them.  Source: Yagnik et al. 2011, section 2.
    """
    size = places.shape[1]
    low = np.uint32(size - 1)
    keys[0] = np.uint32(0xFFFFFFFF)
    for group in range(groups.shape[0]):
        gather_bins(vector, groups, group, lines)
        top_place(lines, places, 0, 0, keys, 1 + group)
    for table in range(out.shape[0]):
        code = np.int64(0)
        for bin_ in range(table * n_hashes, (table + 1) * n_hashes):
            code = code * size + (keys[1 + bin_ // LANES, bin_ % LANES] & low)
        out[table] = code


@kernel(void(F4_1, I4_3, I4_2R, b1, F4_2, U4_2, F4_2, U8_2, F4_2, U8_2, I4_2, F4_2), fastmath=False)
def one_wta_probes(  # type: ignore[no-untyped-def]
    vector, groups, places, step_wise, lines, keys, costs, parts, totals, sums, out, scores
):
    """Write a query's codes in each table: what `wta.wta_probes` writes.

    vector, groups, places, lines  as for `one_wta_codes`
    step_wise, costs, parts, totals, sums  as for `wta.wta_probes`
    keys         u4[>= 8 + n_choices * (1 + n_groups), 16], scratch
    out, scores  i4, f4[n_tables, n_codes], written

    Concurrency: scratch is one thread's own.  Allocates: nothing.
    Cost: O(bins * bin_size * log(n_codes)).
    Unchecked: shapes.  Source: Yagnik et al. 2011, section 2; Lv et al. 2007, section 4.4.
    """
    n_hashes, n_choices = costs.shape
    size = places.shape[1]
    low = np.uint32(size - 1)
    keys[0] = np.uint32(0xFFFFFFFF)
    for group in range(groups.shape[0]):
        gather_bins(vector, groups, group, lines)
        top_places(lines, places, 0, n_choices, keys, 1 + group * n_choices)
    for table in range(out.shape[0]):
        weight = np.uint64(1)
        for k in range(n_hashes - 1, -1, -1):
            bin_ = table * n_hashes + k
            at = 1 + bin_ // LANES * n_choices
            bin_choices(keys, at, bin_ % LANES, low, weight, step_wise, costs[k], parts[k])
            weight *= np.uint64(size)
        best_codes(costs, parts, totals, sums, out[table], scores[table])
