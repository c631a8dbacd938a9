"""Buckets that keep a weighted sample: of the ids that belong to a bucket, those of the smallest ranks.

The rank of an id is ``-ln(u) / weight``, u in (0, 1) a hash of seed, table and id: the ids of
the k smallest ranks are drawn one after the other, each in proportion to its weight among
those left.  A rank depends on nothing else, so a bucket holds the same ids in whatever order
they came.

A buffer is that of `kernels.tables`, each bucket in ascending order of rank, with ``bounds``
f4[n_tables, n_buckets] in place of ``unpaired``: a bucket holds exactly the ids that belong
to it and rank below its bound; 0: there is none, it holds all.  A bound only falls while ids
are dropped, so that an id inserted after a removal takes the free place only if no id that was
dropped before it ranks lower: a bucket may shrink, but what it holds stays a sample.

Source: Cohen & Kaplan 2007, "Summarizing data using bottom-k sketches", sections 2 and 3.
"""

from __future__ import annotations

import math

import numpy as np

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import F4_1R, F4_2, I4_1R, I4_2, I4_2R, I4_3, U1_2, f4, i8, u8, void
from distlsh.kernels.buckets import (
    AHEAD,
    TABLE_GROUP,
    mark,
    prefetch_bucket,
    prefetch_place,
    take_columns,
    take_out,
)
from distlsh.kernels.random import mix64

_LARGEST = 3.4e38
"""Rank of ids without weight: behind all others, but below the bound of a bucket that dropped none."""

_NONE = 0.0


_MARGIN = 1.0 + 1e-9
"""Far above the rounding of a logarithm: what `_surely_behind` drops, its rank would drop too."""


@device_function
def _unit(seed, table, id_):  # type: ignore[no-untyped-def]
    """Return the random number in (0, 1) of an id in a table."""
    bits = mix64(seed ^ mix64(u8(table) << u8(32) | u8(id_)))
    return (np.float64(bits >> u8(11)) + 0.5) * 2.0**-53


@device_function
def rank_of(weight, seed, table, id_):  # type: ignore[no-untyped-def]
    """Return the rank of an id of the given weight in a table's bucket."""
    if not weight > 0:
        return f4(_LARGEST)
    return min(f4(-math.log(_unit(seed, table, id_)) / weight), f4(_LARGEST))


@device_function
def rank(weights, seed, table, id_):  # type: ignore[no-untyped-def]
    """Return the rank of an id in a table's bucket."""
    return rank_of(weights[id_], seed, table, id_)


@device_function
def _surely_behind(bound, weights, seed, table, id_):  # type: ignore[no-untyped-def]
    """Tell, without a logarithm, of most ids whose rank is not below ``bound`` that it is not.

    1 - u is less than -ln(u), and nearly equal for the u close to 1 that make small ranks.
    """
    return 1.0 - _unit(seed, table, id_) > np.float64(bound) * weights[id_] * _MARGIN


@device_function
def _place_of(bucket, size, own, weights, seed, table):  # type: ignore[no-untyped-def]
    """Return the first of the ``size`` places whose id ranks above ``own``."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if rank(weights, seed, table, bucket[middle]) > own:
            high = middle
        else:
            low = middle + 1
    return low


@device_function
def _insert(ids, sizes, seen, bounds, changed, seed, weights, table, code, id_):  # type: ignore[no-untyped-def]
    bucket, size, bound = ids[table, code], sizes[table, code], bounds[table, code]
    capacity = bucket.shape[0]
    seen[table, code] += 1
    mark(changed, table, code)
    if bound != _NONE and _surely_behind(bound, weights, seed, table, id_):
        return
    own = rank(weights, seed, table, id_)
    held = bound == _NONE or own < bound
    if held and size == capacity:
        last = rank(weights, seed, table, bucket[capacity - 1])
        held = own < last
        bounds[table, code] = last if held else own
        size = capacity - 1 if held else size
    if held:
        place = _place_of(bucket, size, own, weights, seed, table)
        for i in range(size, place, -1):
            bucket[i] = bucket[i - 1]
        bucket[place] = id_
        sizes[table, code] = size + 1


@device_function
def _remove(ids, sizes, seen, bounds, changed, table, code, id_):  # type: ignore[no-untyped-def]
    size = take_out(ids[table, code], sizes[table, code], id_)
    sizes[table, code] = size
    seen[table, code] -= 1
    if seen[table, code] == size:
        bounds[table, code] = f4(_NONE)
    mark(changed, table, code)


@kernel(i8(I4_3, I4_2, I4_2, F4_2, U1_2, u8, F4_1R, I4_1R, I4_2R, I4_2R))
def move_ranked(ids, sizes, seen, bounds, changed, seed, weights, rows, old, new):  # type: ignore[no-untyped-def]
    """Move each id whose code changed from its old bucket to its new one; return the moves done.

    ids, sizes, seen, bounds  one table buffer, written
    changed   u1[n_tables, n_buckets], set to 1 where a bucket is written; u1[0, 0]: not kept
    seed      of the ranks
    weights   f4[n_rows], of all ids that the buckets hold as they were when inserted, and of ``rows``
    rows      i4[n], ids
    old, new  i4[n, n_tables], codes; below 0: not in the table before, or after

    Concurrency: one writer, no readers of this buffer.  Allocates: i4[32, n].
    Cost: O(n * n_tables), and bucket_size for each move; an id that is not held costs one rank.
    Unchecked: code range, repeated ids.  Source: Cohen & Kaplan 2007, section 3.
    """
    n, n_tables = new.shape
    leaving, coming = np.empty((TABLE_GROUP, n), np.int32), np.empty((TABLE_GROUP, n), np.int32)
    moved = 0
    for first in range(0, n_tables, TABLE_GROUP):
        width = take_columns(old, first, leaving)
        take_columns(new, first, coming)
        for j in range(width):
            table = first + j
            for i in range(n):
                ahead = i + AHEAD
                if ahead < n and leaving[j, ahead] != coming[j, ahead]:
                    prefetch_bucket(ids, sizes, table, leaving[j, ahead])
                    prefetch_place(ids, sizes, table, coming[j, ahead])
                before, after = leaving[j, i], coming[j, i]
                if before == after:
                    continue
                moved += 1
                if before >= 0:
                    _remove(ids, sizes, seen, bounds, changed, table, before, rows[i])
                if after >= 0:
                    _insert(ids, sizes, seen, bounds, changed, seed, weights, table, after, rows[i])
    return moved


@kernel(void(I4_3, I4_2, I4_2, F4_2, U1_2, u8, F4_1R, I4_1R, I4_2R))
def insert_ranked(ids, sizes, seen, bounds, changed, seed, weights, rows, codes):  # type: ignore[no-untyped-def]
    """Insert each id into its bucket of every table, if its rank there is small enough.

    rows    i4[n], ids not yet in the tables
    codes   i4[n, n_tables], each in [0, n_buckets); below 0: not inserted
    others  as `move_ranked`

    Concurrency: one writer, no readers of this buffer.  Allocates: i4[16, n].
    Cost: O(n * n_tables), times log(bucket_size) ranks where the id is held.
    Unchecked: code range, repeated ids.  Source: Cohen & Kaplan 2007, section 3.
    """
    n, n_tables = codes.shape
    columns = np.empty((TABLE_GROUP, n), np.int32)
    for first in range(0, n_tables, TABLE_GROUP):
        for j in range(take_columns(codes, first, columns)):
            table = first + j
            for i in range(n):
                if i + AHEAD < n:
                    prefetch_place(ids, sizes, table, columns[j, i + AHEAD])
                code = columns[j, i]
                if code >= 0:
                    _insert(ids, sizes, seen, bounds, changed, seed, weights, table, code, rows[i])


@kernel(void(I4_3, I4_2, I4_2, F4_2, U1_2, I4_1R, I4_2R))
def remove_ranked(ids, sizes, seen, bounds, changed, rows, codes):  # type: ignore[no-untyped-def]
    """Take each id out of its bucket of every table.

    rows    i4[n], ids that were inserted with ``codes``, whether their buckets still hold them or not
    codes   i4[n, n_tables]; below 0: was not inserted
    others  as `move_ranked`

    Concurrency: one writer, no readers of this buffer.  Allocates: i4[16, n].
    Cost: O(n * n_tables * bucket_size) at most.
    Unchecked: code range; ids that were never inserted.  Source: Cohen & Kaplan 2007, section 3.
    """
    n, n_tables = codes.shape
    columns = np.empty((TABLE_GROUP, n), np.int32)
    for first in range(0, n_tables, TABLE_GROUP):
        for j in range(take_columns(codes, first, columns)):
            table = first + j
            for i in range(n):
                if i + AHEAD < n:
                    prefetch_bucket(ids, sizes, table, columns[j, i + AHEAD])
                code = columns[j, i]
                if code >= 0:
                    _remove(ids, sizes, seen, bounds, changed, table, code, rows[i])
