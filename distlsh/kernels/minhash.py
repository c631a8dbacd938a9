"""MinHash: the first element of a set in random orders of all elements.

Source: Broder 1997, "On the resemblance and containment of documents", section 3.
"""

from __future__ import annotations

import numpy as np

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import I4_1R, I4_2, I8_1R, U4_1, U4_2, i8, u4, u8, void
from distlsh.kernels.random import mix64
from distlsh.kernels.sets import NOTHING, mixed_code, reordered, shuffled


@kernel(void(u8, U4_2))
def fill_orders(seed, orders):  # type: ignore[no-untyped-def]
    """Draw random orders of the elements: ``orders`` u4[2, n], flips and odd factors, written.

    Concurrency: any.  Allocates: nothing.  Cost: O(n).  Source: kernels.random.
    """
    base = mix64(seed)
    for h in range(orders.shape[1]):
        bits = mix64(base ^ u8(h))
        orders[0, h] = u4(bits >> u8(32))
        orders[1, h] = u4(bits) | u4(1)


@kernel(void(I8_1R, I4_1R, U4_2, u8, i8, i8, U4_1, I4_2))
def minhash_codes(indptr, ids, orders, seed, n_hashes, code_bits, minima, out):  # type: ignore[no-untyped-def]
    """Write the code of each set in each table.

    indptr     i8[m + 1], into ``ids``
    ids        i4: the elements, in any order
    orders     u4[2, n_tables * n_hashes], from `fill_orders`
    seed       of the mixing
    n_hashes   K, minima of a code
    code_bits  of a code, 1 .. 31
    minima     u4[n_tables * n_hashes], scratch
    out        i4[m, n_tables], written, in [0, 2**code_bits); empty sets all get the same codes

    Concurrency: scratch is one thread's own.  Allocates: nothing.
    Cost: two multiplications, in vectors, for each element and hash.
    Unchecked: shapes.  Source: Broder 1997, section 3.
    """
    m, n_tables = out.shape
    flips, factors = orders[0], orders[1]
    order = mix64(seed)
    for row in range(m):
        minima[:] = u4(NOTHING)
        for at in range(indptr[row], indptr[row + 1]):
            z = shuffled(ids[at], order)
            for h in range(minima.shape[0]):
                minima[h] = min(minima[h], reordered(z, flips[h], factors[h]))
        for table in range(n_tables):
            code = mixed_code(minima, table * n_hashes, n_hashes, code_bits, seed)
            out[row, table] = np.int32(code)
