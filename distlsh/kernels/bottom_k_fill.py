"""Fill empty buckets that keep by rank: ids come in ascending order of rank, so each is only appended.

Source: Cohen & Kaplan 2007, "Summarizing data using bottom-k sketches", sections 2 and 3.
"""

from __future__ import annotations

import numpy as np

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import F4_1R, F4_2, I4_1R, I4_2, I4_2R, I4_3, U1_2, i8, u4, u8, void
from distlsh.kernels.bottom_k import rank_of
from distlsh.kernels.buckets import AHEAD, TABLE_GROUP
from distlsh.kernels.prefetch import prefetch

_DIGITS = 3
_DIGIT_BITS = 11
"""Digits of the sort: three hold the 31 bits of a rank, and counts of one fit the first-level cache."""


@device_function
def _sort(pairs, spare, counts):  # type: ignore[no-untyped-def]
    """Sort ``pairs`` u8[n] by their upper halves, equals in their order; return what holds the result.

    spare u8[n], counts i8[_DIGITS, 2**_DIGIT_BITS]: scratch.  Source: Knuth, TAOCP 3, 5.2.5 (radix sort).
    """
    mask = u8((1 << _DIGIT_BITS) - 1)
    counts[:] = 0
    for i in range(pairs.shape[0]):
        for digit in range(_DIGITS):
            counts[digit, i8(pairs[i] >> u8(32 + digit * _DIGIT_BITS) & mask)] += 1
    from_, to = pairs, spare
    for digit in range(_DIGITS):
        start = 0
        for value in range(counts.shape[1]):
            count = counts[digit, value]
            counts[digit, value] = start
            start += count
        shift = u8(32 + digit * _DIGIT_BITS)
        for i in range(from_.shape[0]):
            value = i8(from_[i] >> shift & mask)
            to[counts[digit, value]] = from_[i]
            counts[digit, value] += 1
        from_, to = to, from_
    return from_


@device_function
def _append_sorted(buckets, sizes, seen, bounds, changed, codes, sorted_, rows, ranks):  # type: ignore[no-untyped-def]
    """Append ids in the order of the lower halves of ``sorted_`` u8[n] to the buckets of one table.

    buckets  i4[n_buckets, capacity]; sizes, seen i4, bounds f4, changed u1 [n_buckets or 0]: of that table
    codes, rows, ranks  i4, i4, f4[n]

    One loop, which calls nothing: calls that pass arrays on cost more than the appending.
    """
    capacity = buckets.shape[1]
    kept = changed.shape[0] > 0
    for at in range(sorted_.shape[0]):
        if at + AHEAD < sorted_.shape[0]:
            ahead = codes[i8(u4(sorted_[at + AHEAD]))]
            if ahead >= 0:
                prefetch(buckets, ahead * capacity + min(sizes[ahead], capacity - 1))
        i = i8(u4(sorted_[at]))
        code = codes[i]
        if code < 0:
            continue
        size = sizes[code]
        if size < capacity:
            buckets[code, size] = rows[i]
            sizes[code] = size + 1
        elif seen[code] == size:
            bounds[code] = ranks[i]
        seen[code] += 1
        if kept:
            changed[code] = 1


@kernel(void(I4_3, I4_2, I4_2, F4_2, U1_2, u8, F4_1R, I4_1R, I4_1R, I4_2R))
def fill_ranked(ids, sizes, seen, bounds, changed, seed, weights, rows, places, codes):  # type: ignore[no-untyped-def]
    """Do what `bottom_k.insert_ranked` does with ``rows`` and ``codes[places]``, where all buckets are empty.

    ids, sizes, seen, bounds, changed, seed, weights  as for `bottom_k.move_ranked`
    rows    i4[n], distinct ids
    places  i4[n], row of ``codes`` of each
    codes   i4[> places, n_tables], each in [0, n_buckets); below 0: not inserted

    Concurrency: one writer, no readers of this buffer.  Allocates: 88 bytes for each of n.
    Cost: O(n * n_tables): a logarithm, a radix sort, and an append each.
    Unchecked: code range, repeated ids, that buckets are empty.  Source: Cohen & Kaplan 2007, section 3.
    """
    n, n_tables = rows.shape[0], codes.shape[1]
    columns = np.empty((TABLE_GROUP, n), np.int32)
    own_weights = np.empty(n, np.float32)
    pairs, spare = np.empty(n, np.uint64), np.empty(n, np.uint64)
    counts = np.empty((_DIGITS, 1 << _DIGIT_BITS), np.int64)
    ranks = np.empty(n, np.float32)
    bits = ranks.view(np.uint32)
    for i in range(n):
        own_weights[i] = weights[rows[i]]
    for first in range(0, n_tables, TABLE_GROUP):
        width = min(TABLE_GROUP, n_tables - first)
        for i in range(n):
            for j in range(width):
                columns[j, i] = codes[places[i], first + j]
        for j in range(width):
            table = first + j
            for i in range(n):
                ranks[i] = rank_of(own_weights[i], seed, table, rows[i])
            for i in range(n):
                pairs[i] = u8(bits[i]) << u8(32) | u8(i)
            found = _sort(pairs, spare, counts)
            marks = changed[table] if changed.shape[0] > 0 else changed[:0].reshape(-1)
            where = (ids[table], sizes[table], seen[table], bounds[table], marks)
            _append_sorted(*where, columns[j], found, rows, ranks)
