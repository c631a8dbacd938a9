"""Cross-polytope hashes of a single vector: the coordinates of 16 hashes become lines of lanes.

Source: Andoni et al. 2015, "Practical and optimal LSH for angular distance", sections 3 and 5.
"""

from __future__ import annotations

import numpy as np

from distlsh.kernels._ir import LANES, exact_function
from distlsh.kernels._jit import kernel
from distlsh.kernels._types import F4_1R, F4_2, F4_2R, I4_1, I4_2, U4_2, U8_2, b1, i8, void
from distlsh.kernels.cross_polytope import magnitude_choices
from distlsh.kernels.lanes import top_magnitude, top_magnitudes, transpose_16
from distlsh.kernels.one_rotation import rotate_one
from distlsh.kernels.probing import best_codes


@exact_function
def _load_group(blocks, group, zeros, lines):  # type: ignore[no-untyped-def]
    """Write blocks ``16 * group ..`` of f4[n, dim] as the lanes of ``lines`` f4[dim, 16]."""
    n, dim = blocks.shape
    first = group * LANES
    for column in range(0, dim - LANES + 1, LANES):
        transpose_16(blocks, first, n - 1, column, zeros, lines)
    for column in range(dim // LANES * LANES, dim):
        for lane in range(LANES):
            lines[column, lane] = blocks[min(first + lane, n - 1), column]


@kernel(void(F4_2, F4_2R, i8, F4_2, F4_2, F4_2, F4_1R, F4_2, U4_2, I4_1), fastmath=False)
def one_cross_polytope_codes(  # type: ignore[no-untyped-def]
    vector, signs, n_hashes, spread, turned, blocks, zeros, lines, keys, out
):
    """Write the code of a vector in each table: what `cross_polytope.cross_polytope_codes` writes.

    vector    f4[width / 16, 16], 16 adjacent coordinates a line
    signs     f4[rounds, width], of as many rotations as n_tables * n_hashes blocks of ``dim`` need
    n_hashes  K, digits of a code
    spread, turned  f4[width / 16, 16], f4[rotations * width / 16, 16], scratch
    blocks    f4[rotations * width / dim, dim], the memory of ``turned``
    zeros     f4[dim]
    lines     f4[dim, 16], scratch
    keys      u4[>= 1 + n_tables * n_hashes / 16, 16], scratch
    out       i4[n_tables], written

    Concurrency: all but signs and zeros is one thread's own.  Allocates: nothing.
    Cost: O(rotations * width * log(width)).
    Unchecked: shapes; `lsh.Hasher` checks them.  Source: Andoni et al. 2015, sections 3 and 5.
    """
    rotate_one(vector, signs, spread, turned)
    n_tables, dim = out.shape[0], blocks.shape[1]
    keys[0] = np.uint32(0xFFFFFFFF)
    for group in range((n_tables * n_hashes + LANES - 1) // LANES):
        _load_group(blocks, group, zeros, lines)
        top_magnitude(lines, 0, dim, 0, keys, 1 + group)
    digit = np.uint32(2 * dim - 1)
    for table in range(n_tables):
        code = np.uint32(0)
        for block in range(table * n_hashes, (table + 1) * n_hashes):
            code = code * np.uint32(2 * dim) + (keys[1 + block // LANES, block % LANES] & digit)
        out[table] = code


@kernel(
    void(F4_2, F4_2R, b1, F4_2, F4_2, F4_2, F4_1R, F4_2, U4_2, F4_2, U8_2, F4_2, U8_2, I4_2, F4_2),
    fastmath=False,
)
def one_cross_polytope_probes(  # type: ignore[no-untyped-def]
    vector, signs, step_wise, spread, turned, blocks, zeros, lines, keys,
    costs, parts, totals, sums, out, scores,
):  # fmt: skip
    """Write a query's codes in each table: what `cross_polytope.cross_polytope_probes` writes.

    vector, signs, spread, turned, blocks, zeros, lines  as for `one_cross_polytope_codes`
    step_wise, costs, parts, totals, sums  as for `cross_polytope.cross_polytope_probes`
    keys         u4[>= 8 + n_choices * (1 + blocks / 16), 16], scratch
    out, scores  i4, f4[n_tables, n_codes], written

    Concurrency: all but signs and zeros is one thread's own.  Allocates: nothing.
    Cost: that of the codes, a pass over the coordinates that keeps the n_choices largest, and the choice.
    Unchecked: shapes.  Source: Andoni et al. 2015, section 5 (multi-probe); Lv et al. 2007, section 4.4.
    """
    rotate_one(vector, signs, spread, turned)
    n_tables, dim = out.shape[0], blocks.shape[1]
    n_hashes, n_choices = costs.shape
    keys[0] = np.uint32(0xFFFFFFFF)
    for group in range((n_tables * n_hashes + LANES - 1) // LANES):
        _load_group(blocks, group, zeros, lines)
        top_magnitudes(lines, 0, dim, n_choices, keys, 1 + group * n_choices)
    for table in range(n_tables):
        weight = np.uint64(1)
        for k in range(n_hashes - 1, -1, -1):
            block = table * n_hashes + k
            at = 1 + block // LANES * n_choices
            magnitude_choices(keys, at, block % LANES, dim, weight, step_wise, costs[k], parts[k])
            weight *= np.uint64(2 * dim)
        best_codes(costs, parts, totals, sums, out[table], scores[table])
