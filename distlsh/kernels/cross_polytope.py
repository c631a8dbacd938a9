"""Cross-polytope hashes: the nearest of +-e_i to a rotated vector.

Source: Andoni et al. 2015, "Practical and optimal LSH for angular distance", sections 3 and 5.
"""

from __future__ import annotations

import numpy as np

from distlsh.kernels._ir import LANES
from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import F4_2, F4_2R, F4_3, I4_2, I4_3, U4_2, U8_2, b1, i8, void
from distlsh.kernels.lanes import float_of, top_magnitude, top_magnitudes
from distlsh.kernels.probing import best_codes
from distlsh.kernels.rotation import rotate, spread


@kernel(void(F4_3, F4_2R, i8, i8, F4_2, U4_2, I4_2), fastmath=False)
def cross_polytope_codes(lines, signs, dim, n_hashes, turned, keys, out):  # type: ignore[no-untyped-def]
    """Write the code of each row in each table.

    lines     f4[>= ceil(m / 16), width, 16], from `kernels.blocks`; overwritten
    signs     f4[rounds, width], of as many rotations as n_tables * n_hashes blocks of ``dim`` need
    dim       coordinates of one hash, a power of two that divides width
    n_hashes  K, digits of a code; a digit is 2 * coordinate + (1 if negative)
    turned    f4[width, 16], scratch
    keys      u4[>= 2 + n_tables, 16], scratch
    out       i4[m, n_tables], written, in [0, (2 * dim)**n_hashes)

    Concurrency: all but signs is one thread's own.  Allocates: nothing.
    Cost: O(rotations * width * log(width)) a row.
    Unchecked: shapes; `lsh.Hasher` checks them.  Source: Andoni et al. 2015, sections 3 and 5.
    """
    m, n_tables = out.shape
    per_rotation = lines.shape[1] // dim
    keys[0] = np.uint32(0xFFFFFFFF)
    digit = np.uint32(2 * dim - 1)
    for first in range(0, m, LANES):
        rows = lines[first // LANES]
        spread(rows, signs)
        keys[2:] = np.uint32(0)
        for block in range(n_tables * n_hashes):
            place = block % per_rotation
            if place == 0:
                rotate(rows, signs, block // per_rotation, turned)
            top_magnitude(turned, place * dim, dim, 0, keys, 1)
            table = 2 + block // n_hashes
            for lane in range(LANES):
                keys[table, lane] = keys[table, lane] * np.uint32(2 * dim) + (keys[1, lane] & digit)
        for lane in range(min(LANES, m - first)):
            for table in range(n_tables):
                out[first + lane, table] = keys[2 + table, lane]


@device_function
def _magnitude(key, low):  # type: ignore[no-untyped-def]
    """Return the magnitude that a key was made of, but for its lowest bits."""
    return float_of((key & ~low) >> np.uint32(1))


@device_function
def magnitude_choices(keys, at, lane, dim, weight, step_wise, costs, parts):  # type: ignore[no-untyped-def]
    """Turn one lane's keys of a hash into parts of a code and their squared distances from the first.

    keys    u4[n, 16], magnitude keys from line ``at`` on, descending
    weight  u8, of the hash's digit in the code
    costs, parts  f4, u8[n_choices], written
    """
    low = np.uint32(2 * dim - 1)
    best = _magnitude(keys[at, lane], low)
    for j in range(costs.shape[0]):
        key = keys[at + j, lane]
        gap = np.float32(j) if step_wise else best - _magnitude(key, low)
        parts[j] = np.uint64(key & low) * weight
        costs[j] = gap if step_wise else gap * gap


@kernel(void(F4_3, F4_2R, i8, b1, F4_2, U4_2, F4_2, U8_2, F4_2, U8_2, I4_3, F4_3), fastmath=False)
def cross_polytope_probes(  # type: ignore[no-untyped-def]
    lines, signs, dim, step_wise, turned, keys, costs, parts, totals, sums, out, scores
):
    """Write each query's code in each table, then the codes of the best other buckets.

    lines, signs, dim, turned  as for `cross_polytope_codes`
    step_wise     score by steps, not by distances: the j-th best value of a hash is j steps away
    keys          u4[>= 8 + blocks * n_choices, 16], scratch
    costs, parts  f4, u8[n_hashes, n_choices], scratch; n_choices = min(n_codes, dim)
    totals, sums  f4, u8[2, n_codes], scratch
    out           i4[m, n_tables, n_codes], written; EMPTY where there are no more buckets
    scores        f4[m or 1, n_tables, n_codes], written; one row is scratch that all share

    A choice costs the squared difference to the largest magnitude of its block.  The
    other sign of a coordinate is never chosen: it costs more than every coordinate.

    Concurrency: all but signs is one thread's own.  Allocates: nothing.  Cost: that of the codes, and a
    pass over the coordinates that keeps the n_choices largest.
    Unchecked: shapes.  Source: Andoni et al. 2015, section 5 (multi-probe); Lv et al. 2007, section 4.4.
    """
    m, n_tables = out.shape[0], out.shape[1]
    n_hashes, n_choices = costs.shape
    per_rotation = lines.shape[1] // dim
    keys[0] = np.uint32(0xFFFFFFFF)
    for first in range(0, m, LANES):
        rows = lines[first // LANES]
        spread(rows, signs)
        for block in range(n_tables * n_hashes):
            place = block % per_rotation
            if place == 0:
                rotate(rows, signs, block // per_rotation, turned)
            top_magnitudes(turned, place * dim, dim, n_choices, keys, 1 + block * n_choices)
        for lane in range(min(LANES, m - first)):
            row = first + lane
            scored = min(row, scores.shape[0] - 1)
            for table in range(n_tables):
                weight = np.uint64(1)
                for k in range(n_hashes - 1, -1, -1):
                    at = 1 + (table * n_hashes + k) * n_choices
                    magnitude_choices(keys, at, lane, dim, weight, step_wise, costs[k], parts[k])
                    weight *= np.uint64(2 * dim)
                best_codes(costs, parts, totals, sums, out[row, table], scores[scored, table])
