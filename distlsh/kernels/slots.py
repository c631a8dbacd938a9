"""Slots that coordinates fall into, as codes for Euclidean distances.

Source: Datar et al. 2004, "Locality-sensitive hashing scheme based on p-stable distributions",
section 3.2: floor((w . x + b) / r) with normal w and b uniform in [0, r).
"""

from __future__ import annotations

import math

import numpy as np

from distlsh.kernels._ir import LANES
from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import (
    F4_1,
    F4_1R,
    F4_2,
    F4_3,
    F4_3R,
    I4_2,
    I4_3,
    U8_2,
    U8_2R,
    b1,
    f4,
    i4,
    i8,
    u8,
    void,
)
from distlsh.kernels.mixing import mix_part
from distlsh.kernels.probing import best_sums, write_distinct
from distlsh.kernels.random import bits_at

_FAR = 1 << 30
"""Slots beyond it, on either side, are one: their numbers would not fit 32 bits."""


@kernel(void(u8, F4_1))
def fill_offsets(seed, offsets):  # type: ignore[no-untyped-def]
    """Fill ``offsets`` f4[n] with uniform numbers of [0, 1) made from ``seed``: b / r of each hash.

    Concurrency: any.  Allocates: nothing.  Cost: O(n).
    """
    for i in range(offsets.shape[0]):
        offsets[i] = f4((bits_at(seed, i) >> u8(40)) * 2.0**-24)


@device_function
def _position(coordinate, per_unit, offset):  # type: ignore[no-untyped-def]
    """Return where a coordinate lies, in slots, at most ``_FAR`` away; 0 where that is no number."""
    # In float64, where product and sum are exact enough that no fusing of the two could change a slot.
    position = np.float64(coordinate) * per_unit + np.float64(offset)
    if math.isnan(position):
        return 0.0
    return max(-float(_FAR), min(position, float(_FAR)))


@kernel(void(F4_3R, f4, F4_1R, U8_2R, i8, I4_2), fastmath=False)
def slot_codes(coordinates, per_unit, offsets, multipliers, code_bits, out):  # type: ignore[no-untyped-def]
    """Write the code of each row in each table.

    coordinates  f4[>= ceil(m / 16), >= n_tables * n_hashes, 16]
    per_unit     1 / r, slots of a unit
    offsets      f4[n_tables * n_hashes] in [0, 1), from `fill_offsets`
    multipliers  u8[n_tables, 1 + n_hashes], from `fill_multipliers`
    code_bits    of a code, 1 to 31
    out          i4[m, n_tables], written, in [0, 2**code_bits)

    Concurrency: out is one thread's own.  Allocates: nothing.  Cost: O(n_tables * n_hashes) a row.
    Unchecked: shapes; `lsh.Hasher` checks them.  Source: Datar et al. 2004, section 3.2.
    """
    m, n_tables = out.shape
    n_hashes = multipliers.shape[1] - 1
    shift = u8(64 - code_bits)
    for first in range(0, m, LANES):
        block = coordinates[first // LANES]
        for table in range(n_tables):
            for lane in range(min(LANES, m - first)):
                code = u8(0)
                for k in range(n_hashes):
                    hash_ = table * n_hashes + k
                    slot = math.floor(_position(block[hash_, lane], per_unit, offsets[hash_]))
                    code += mix_part(multipliers, table, k, i4(slot))
                out[first + lane, table] = i4(code >> shift)


@kernel(
    void(F4_3R, f4, F4_1R, U8_2R, i8, b1, F4_2, U8_2, F4_2, U8_2, I4_3, F4_3),
    fastmath=False,
)
def slot_probes(  # type: ignore[no-untyped-def]
    coordinates, per_unit, offsets, multipliers, code_bits, step_wise, costs, parts, totals, sums, out, scores
):
    """Write each query's code in each table, then those with hashes in the slots beside its own.

    coordinates, per_unit, offsets, multipliers, code_bits  as for `slot_codes`
    step_wise     score by the number of hashes that differ, not by distances
    costs, parts  f4, u8[n_hashes, n_choices], scratch; n_choices = min(n_codes, 3)
    totals, sums  f4, u8[2, >= n_codes], scratch; more than n_codes make up for combinations of
                  slots that have the same code
    out           i4[m, n_tables, n_codes], written: distinct codes, EMPTY where there are no more
    scores        f4[m or 1, n_tables, n_codes], written; one row is scratch that all share

    A neighbouring slot costs the squared distance to its border, in units of r.

    Concurrency: out and scratch are one thread's own.  Allocates: nothing.
    Cost: O(n_hashes * n_codes * log(n_codes)) a table.
    Unchecked: shapes.  Source: Lv et al. 2007, sections 4.2 and 4.4.
    """
    m, n_tables = out.shape[0], out.shape[1]
    n_hashes, n_choices = costs.shape
    shift = u8(64 - code_bits)
    for row in range(m):
        block, lane = coordinates[row // LANES], row % LANES
        scored = min(row, scores.shape[0] - 1)
        for table in range(n_tables):
            for k in range(n_hashes):
                hash_ = table * n_hashes + k
                position = _position(block[hash_, lane], per_unit, offsets[hash_])
                slot = math.floor(position)
                below = f4(position - slot)
                nearer = -1 if step_wise or below < f4(0.5) else 1
                for j in range(n_choices):
                    side = (0, nearer, -nearer)[j]
                    parts[k, j] = mix_part(multipliers, table, k, i4(slot + side))
                    distance = below if side < 0 else f4(1.0) - below
                    costs[k, j] = f4(min(j, 1)) if step_wise or j == 0 else distance * distance
            n, best = best_sums(costs, parts, totals, sums)
            write_distinct(totals[best], sums[best], n, shift, out[row, table], scores[scored, table])
