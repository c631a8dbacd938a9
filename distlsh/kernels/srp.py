"""Signed random projections (SimHash) read off fast rotations: a bit a coordinate.

Source: Charikar 2002 (the hash); Andoni et al. 2015, section 3 (fast rotations); Ji et al.
2012, "Super-bit LSH" (orthogonal projections vary less than independent ones).
"""

from __future__ import annotations

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import F4_1, F4_1R, F4_2, F4_2R, I4_2, I4_3, i8, void
from distlsh.kernels.lanes import LANES
from distlsh.kernels.probing import best_flips
from distlsh.kernels.rotation import prepare_block, rotate


@kernel(void(F4_2R, F4_1R, F4_2R, i8, F4_2, F4_2, I4_2, I4_2))
def srp_codes(rows, center, signs, n_hashes, lines, turned, bits, out):  # type: ignore[no-untyped-def]
    """Write the code of each row in each table.

    rows           f4[m, d], d <= width
    center         f4[d], subtracted from each row
    signs          f4[rounds, width], of as many rotations as n_tables * n_hashes coordinates need
    n_hashes       K, bits of a code, the first hash the highest; a bit is "coordinate > 0"
    lines, turned  f4[width, 16], scratch
    bits           i4[n_tables, 16], scratch
    out            i4[m, n_tables], written, in [0, 2**n_hashes)

    Concurrency: scratch is one thread's own; rows may change meanwhile.  Allocates: nothing.
    Cost: O(rotations * width * log(width)) a row.
    Unchecked: shapes; `lsh.Hasher` checks them.  Source: Charikar 2002; Andoni et al. 2015.
    """
    m, n_tables = out.shape
    width = lines.shape[0]
    for first in range(0, m, LANES):
        prepare_block(rows, first, m - 1, center, signs, lines)
        bits[:] = 0
        for hash_ in range(n_tables * n_hashes):
            place = hash_ % width
            if place == 0:
                rotate(lines, signs, hash_ // width, turned)
            table = hash_ // n_hashes
            for lane in range(LANES):
                bits[table, lane] = bits[table, lane] << 1 | (turned[place, lane] > 0.0)
        for lane in range(min(LANES, m - first)):
            for table in range(n_tables):
                out[first + lane, table] = bits[table, lane]


@kernel(void(F4_2R, F4_1R, F4_2R, F4_2, F4_2, F4_2, F4_1, F4_2, I4_2, I4_3))
def srp_probes(  # type: ignore[no-untyped-def]
    rows, center, signs, lines, turned, coordinates, margins, totals, codes, out
):
    """Write each query's code in each table, then those with the least certain bits flipped.

    rows           f4[m, d], d <= width
    center         f4[d], subtracted from each row
    signs          f4[rounds, width], as for `srp_codes`
    lines, turned  f4[width, 16], scratch
    coordinates    f4[n_tables * n_hashes, 16], scratch
    margins        f4[n_hashes], scratch
    totals, codes  f4, i4[3, 1 + n_probes], scratch
    out            i4[m, n_tables, 1 + n_probes], written

    Concurrency: scratch is one thread's own.  Allocates: nothing.
    Cost: that of the codes, and O(n_probes * log(n_probes)) a table for each flipped bit.
    Unchecked: shapes.  Source: Lv et al. 2007, section 4.4 (query-directed probing).
    """
    m, n_tables = out.shape[0], out.shape[1]
    n_hashes = margins.shape[0]
    width = lines.shape[0]
    for first in range(0, m, LANES):
        prepare_block(rows, first, m - 1, center, signs, lines)
        for hash_ in range(n_tables * n_hashes):
            place = hash_ % width
            if place == 0:
                rotate(lines, signs, hash_ // width, turned)
            coordinates[hash_] = turned[place]
        for lane in range(min(LANES, m - first)):
            for table in range(n_tables):
                for k in range(n_hashes):
                    margins[k] = coordinates[table * n_hashes + k, lane]
                best_flips(margins, totals, codes, out[first + lane, table])
