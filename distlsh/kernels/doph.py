"""Densified one permutation hashing: all minima from one random order, cut into bins.

Sources: Li, Owen & Zhang 2012, "One permutation hashing" (bins); Shrivastava 2017, "Optimal
densification for fast and accurate minwise hashing" (empty bins borrow).
"""

from __future__ import annotations

import numpy as np

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import I4_1R, I4_2, I8_1, I8_1R, U4_1, i8, u4, u8, void
from distlsh.kernels.random import mix64, scaled
from distlsh.kernels.sets import NOTHING, mixed_code, shuffled

MAX_ATTEMPTS = 64
"""Bins that an empty one asks at random, before it takes the next that is not empty."""


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


@device_function
def _find_donors(minima, seed, donors):  # type: ignore[no-untyped-def]
    """Set ``donors`` to the bin that each bin reads: itself, or one asked by a universal hash.

    Every walk is over bins in an order that does not depend on the set, so two sets
    borrow the same element exactly where the first bin that either fills agrees.
    """
    n_bins = minima.shape[0]
    following = i8(-1)
    for i in range(2 * n_bins - 1, -1, -1):
        if minima[i % n_bins] != u4(NOTHING):
            following = i % n_bins
        if i < n_bins:
            donors[i] = following
    if following < 0:
        return
    # The next one that is not empty: where the random walk below gives up.
    for bin_ in range(n_bins):
        if minima[bin_] != u4(NOTHING):
            continue
        for attempt in range(MAX_ATTEMPTS):
            other = scaled(mix64(seed ^ mix64(u8(bin_) * u8(MAX_ATTEMPTS) + u8(attempt))), n_bins)
            if minima[other] != u4(NOTHING):
                donors[bin_] = other
                break


@kernel(void(I8_1R, I4_1R, u8, i8, i8, U4_1, U4_1, I8_1, I4_2))
def doph_codes(indptr, ids, seed, n_hashes, code_bits, minima, dense, donors, out):  # type: ignore[no-untyped-def]
    """Write the code of each set in each table.

    indptr         i8[m + 1], into ``ids``
    ids            i4: the elements, in any order
    seed           of the order, the borrowing and the mixing
    n_hashes       K, minima of a code
    code_bits      of a code, 1 .. 31
    minima, dense  u4[n_tables * n_hashes], scratch
    donors         i8[n_tables * n_hashes], scratch
    out            i4[m, n_tables], written, in [0, 2**code_bits); empty sets all get the same codes

    Concurrency: scratch is one thread's own.  Allocates: nothing.
    Cost: O(elements + hashes) a set; with fewer elements than hashes, some tries for each empty bin.
    Unchecked: shapes.  Source: Li, Owen & Zhang 2012, section 2; Shrivastava 2017, section 4.
    """
    m, n_tables = out.shape
    for row in range(m):
        _fill_minima(indptr, ids, row, seed, minima)
        _find_donors(minima, seed, donors)
        for bin_ in range(minima.shape[0]):
            dense[bin_] = minima[donors[bin_]] if donors[bin_] >= 0 else u4(NOTHING)
        for table in range(n_tables):
            out[row, table] = np.int32(mixed_code(dense, table * n_hashes, n_hashes, code_bits, seed))
