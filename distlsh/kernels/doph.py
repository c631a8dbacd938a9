"""Densified one permutation hashing: all minima from one random order, cut into bins.

Sources: Li, Owen & Zhang 2012, "One permutation hashing" (bins); Shrivastava 2017, "Optimal
densification for fast and accurate minwise hashing" (empty bins borrow).
"""

from __future__ import annotations

import numpy as np

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import I4_1, I4_1R, I4_2, I8_1R, U4_1, U4_2, i8, u4, u8, void
from distlsh.kernels.borrowing import borrow
from distlsh.kernels.random import mix64
from distlsh.kernels.sets import NOTHING, mixed_code, shuffled


@device_function
def _fill_minima(indptr, ids, row, seed, minima):  # type: ignore[no-untyped-def]
    """Set each bin to the least place of its elements in the order; NOTHING where it has none."""
    n_bins = u8(minima.shape[0])
    order = mix64(seed)
    minima[:] = u4(NOTHING)
    for at in range(indptr[row], indptr[row + 1]):
        z = shuffled(ids[at], order)
        bin_ = i8((u8(z) * n_bins) >> u8(32))
        minima[bin_] = min(minima[bin_], z)


@kernel(void(I8_1R, I4_1R, u8, i8, i8, U4_2, i8, I4_1, I4_1, U4_1, U4_1, I4_2))
def doph_codes(  # type: ignore[no-untyped-def]
    indptr, ids, seed, n_hashes, code_bits, walks, prime, filled, donors, minima, dense, out
):
    """Write the code of each set in each table.

    indptr         i8[m + 1], into ``ids``
    ids            i4: the elements, in any order
    seed           of the order and the mixing
    n_hashes       K, minima of a code
    code_bits      of a code, 1 .. 31
    walks, prime    by which empty bins borrow: u4[3, n_tables * n_hashes], from `kernels.borrowing`
    filled, donors  i4[n_tables * n_hashes], scratch
    minima, dense   u4[n_tables * n_hashes], scratch
    out            i4[m, n_tables], written, in [0, 2**code_bits); empty sets all get the same codes

    Concurrency: scratch is one thread's own.  Allocates: nothing.
    Cost: O(elements + hashes) a set; with fewer elements than hashes, that of `kernels.borrowing.borrow`.
    Unchecked: shapes.  Source: Li, Owen & Zhang 2012, section 2; Shrivastava 2017, section 4.
    """
    m, n_tables = out.shape
    for row in range(m):
        _fill_minima(indptr, ids, row, seed, minima)
        for bin_ in range(minima.shape[0]):
            donors[bin_] = bin_ if minima[bin_] != u4(NOTHING) else -1
        borrow(walks, prime, filled, donors)
        for bin_ in range(minima.shape[0]):
            dense[bin_] = minima[donors[bin_]]
        for table in range(n_tables):
            out[row, table] = np.int32(mixed_code(dense, table * n_hashes, n_hashes, code_bits, seed))
