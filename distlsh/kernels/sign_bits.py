"""Signs of coordinates as the bits of a code, whatever projections the coordinates come from.

Source: Charikar 2002, "Similarity estimation techniques from rounding algorithms", section 3.
"""

from __future__ import annotations

import numpy as np

from distlsh.kernels._ir import LANES
from distlsh.kernels._jit import kernel
from distlsh.kernels._types import F4_1, F4_2, F4_3, I4_2, I4_3, b1, i8, void
from distlsh.kernels.probing import best_flips


@kernel(void(F4_3, i8, I4_2, I4_2), fastmath=False)
def sign_codes(coordinates, n_hashes, bits, out):  # type: ignore[no-untyped-def]
    """Write the code of each row in each table.

    coordinates  f4[>= ceil(m / 16), n_tables * n_hashes, 16]
    n_hashes     K, bits of a code, the first hash the highest; a bit is "coordinate > 0"
    bits         i4[n_tables, 16], scratch
    out          i4[m, n_tables], written, in [0, 2**n_hashes)

    Concurrency: arrays are one thread's own.  Allocates: nothing.  Cost: O(n_tables * n_hashes) a row.
    Unchecked: shapes; `lsh.Hasher` checks them.  Source: Charikar 2002, section 3.
    """
    m, n_tables = out.shape
    for first in range(0, m, LANES):
        block = coordinates[first // LANES]
        bits[:] = 0
        for table in range(n_tables):
            for k in range(n_hashes):
                for lane in range(LANES):
                    bits[table, lane] = bits[table, lane] << 1 | (block[table * n_hashes + k, lane] > 0.0)
        for lane in range(min(LANES, m - first)):
            for table in range(n_tables):
                out[first + lane, table] = bits[table, lane]


@kernel(void(F4_3, b1, F4_1, F4_2, I4_2, I4_3, F4_3), fastmath=False)
def sign_probes(coordinates, step_wise, margins, totals, codes, out, scores):  # type: ignore[no-untyped-def]
    """Write each query's code in each table, then those with the least certain bits flipped.

    coordinates    f4[>= ceil(m / 16), n_tables * n_hashes, 16]
    step_wise      score by the number of flips, not by the squared margins of the bits flipped
    margins        f4[n_hashes], scratch
    totals, codes  f4, i4[3, n_codes], scratch
    out            i4[m, n_tables, n_codes], written
    scores         f4[m or 1, n_tables, n_codes], written; one row is scratch that all share

    Concurrency: arrays are one thread's own.  Allocates: nothing.
    Cost: O(n_codes * log(n_codes)) a table for each flipped bit.
    Unchecked: shapes.  Source: Lv et al. 2007, sections 4.2 and 4.4.
    """
    m, n_tables = out.shape[0], out.shape[1]
    n_hashes = margins.shape[0]
    for row in range(m):
        block, lane = coordinates[row // LANES], row % LANES
        scored = min(row, scores.shape[0] - 1)
        for table in range(n_tables):
            for k in range(n_hashes):
                margin = block[table * n_hashes + k, lane]
                if step_wise:
                    margin = np.float32(1.0) if margin > 0.0 else np.float32(-1.0)
                margins[k] = margin
            best_flips(margins, totals, codes, out[row, table], scores[scored, table])
