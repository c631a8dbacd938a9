"""Buckets of ids in flat arrays: insert, remove, move, copy.

A table buffer is ``ids`` i4[n_tables, n_buckets, bucket_size] with, for each bucket,
``sizes`` (ids held, oldest to newest in places [0, size)), ``seen`` (ids that belong to
it, held or not) and ``unpaired`` (removals that no later insertion has made good;
reservoir only), all i4[n_tables, n_buckets].

Source: SLIDE (Chen et al. 2019), section 3.1, for fixed-size FIFO and reservoir buckets.
"""

from __future__ import annotations

import numpy as np

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import I4_1R, I4_2, I4_2R, I4_3, I4_3R, U1_2, i8, u8, void
from distlsh.kernels.buckets import (
    AHEAD,
    TABLE_GROUP,
    mark,
    prefetch_bucket,
    prefetch_place,
    take_columns,
    take_out,
)
from distlsh.kernels.random import mix64, scaled

FIFO, RESERVOIR = 0, 1


@device_function
def _append_fifo(bucket, size, id_):  # type: ignore[no-untyped-def]
    """Put ``id_`` behind the others, dropping the oldest of a full bucket; return the new size."""
    capacity = bucket.shape[0]
    if size < capacity:
        bucket[size] = id_
        return size + 1
    for i in range(capacity - 1):
        bucket[i] = bucket[i + 1]
    bucket[capacity - 1] = id_
    return size


@device_function
def _draw(seed, table, code, id_, seen, n):  # type: ignore[no-untyped-def]
    """Return a number in [0, n) that depends on the bucket, its population and the id alone."""
    place = mix64(seed ^ mix64(u8(table) << u8(32) | u8(code)))
    bits = mix64(place ^ mix64(u8(seen) << u8(32) | u8(id_)))
    return scaled(bits, n)


@device_function
def _put_reservoir(bucket, size, id_, seen, unpaired, seed, table, code):  # type: ignore[no-untyped-def]
    """Offer ``id_`` to a uniform sample of ``seen`` ids; return the new size and unpaired removals.

    Vitter's algorithm R while nothing was removed.  An insertion after a removal makes
    it good (random pairing): it takes the freed place with the probability that the
    removed id was in the sample, so the sample stays uniform.
    """
    capacity = bucket.shape[0]
    if unpaired > 0:
        free = min(capacity, seen + unpaired) - size
        if _draw(seed, table, code, id_, seen, unpaired) < free:
            bucket[size] = id_
            size += 1
        return size, unpaired - 1
    if size < capacity:
        bucket[size] = id_
        return size + 1, unpaired
    place = _draw(seed, table, code, id_, seen, seen + 1)
    if place < capacity:
        bucket[place] = id_
    return size, unpaired


@device_function
def _insert(ids, sizes, seen, unpaired, changed, policy, seed, table, code, id_):  # type: ignore[no-untyped-def]
    bucket = ids[table, code]
    size = sizes[table, code]
    if policy == FIFO:
        sizes[table, code] = _append_fifo(bucket, size, id_)
    else:
        population, owed = seen[table, code], unpaired[table, code]
        size, owed = _put_reservoir(bucket, size, id_, population, owed, seed, table, code)
        sizes[table, code] = size
        unpaired[table, code] = owed
    seen[table, code] += 1
    mark(changed, table, code)


@device_function
def _remove(ids, sizes, seen, unpaired, changed, policy, table, code, id_):  # type: ignore[no-untyped-def]
    sizes[table, code] = take_out(ids[table, code], sizes[table, code], id_)
    seen[table, code] -= 1
    if policy == RESERVOIR:
        unpaired[table, code] += 1
    mark(changed, table, code)


@kernel(void(I4_3, I4_2, I4_2, I4_2, U1_2, i8, u8, I4_1R, I4_2R))
def insert_rows(ids, sizes, seen, unpaired, changed, policy, seed, rows, codes):  # type: ignore[no-untyped-def]
    """Insert each id into its bucket of every table, in the order given.

    Table by table, so that one table's buckets stay in cache: pass many rows a call.

    ids, sizes, seen, unpaired  one table buffer, written
    changed  u1[n_tables, n_buckets], set to 1 where a bucket is written; u1[0, 0]: not kept
    policy   FIFO: a full bucket drops its oldest; RESERVOIR: it holds a uniform sample
    seed     of the reservoir's choices
    rows     i4[n], ids not yet in the tables
    codes    i4[n, n_tables], each in [0, n_buckets); below 0: not inserted

    Concurrency: one writer, no readers of this buffer.  Allocates: i4[16, n].
    Cost: O(n * n_tables), times bucket_size where FIFO buckets are full.
    Unchecked: code range, repeated ids.
    Source: Vitter 1985, algorithm R; Gemulla, Lehner & Haas 2008, random pairing.
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
                    _insert(ids, sizes, seen, unpaired, changed, policy, seed, table, code, rows[i])


@kernel(void(I4_3, I4_2, I4_2, I4_2, U1_2, i8, I4_1R, I4_2R))
def remove_rows(ids, sizes, seen, unpaired, changed, policy, rows, codes):  # type: ignore[no-untyped-def]
    """Take each id out of its bucket of every table.

    changed  as `insert_rows`
    rows     i4[n], ids that were inserted with ``codes``, whether their buckets still hold them or not
    codes    i4[n, n_tables]; below 0: was not inserted

    Concurrency: one writer, no readers of this buffer.  Allocates: i4[16, n].
    Cost: O(n * n_tables * bucket_size) at most.
    Unchecked: code range; ids that were never inserted (``seen`` would be wrong).
    Source: Gemulla, Lehner & Haas 2008.
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
                    _remove(ids, sizes, seen, unpaired, changed, policy, table, code, rows[i])


@kernel(i8(I4_3, I4_2, I4_2, I4_2, U1_2, i8, u8, I4_1R, I4_2R, I4_2R))
def move_rows(ids, sizes, seen, unpaired, changed, policy, seed, rows, old, new):  # type: ignore[no-untyped-def]
    """Move each id whose code changed from its old bucket to its new one; return the moves done.

    changed   as `insert_rows`
    rows      i4[n], ids
    old, new  i4[n, n_tables], codes; below 0: not in the table before, or after

    Concurrency: one writer, no readers of this buffer.  Allocates: i4[32, n].
    Cost: O(n * n_tables), and bucket_size for each move.
    Unchecked: code range.  Source: as `insert_rows` and `remove_rows`.
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
                    _remove(ids, sizes, seen, unpaired, changed, policy, table, before, rows[i])
                if after >= 0:
                    _insert(ids, sizes, seen, unpaired, changed, policy, seed, table, after, rows[i])
    return moved


@kernel(void(I4_3R, I4_2R, I4_2R, I4_2R, I4_3, I4_2, I4_2, I4_2, U1_2, U1_2))
def copy_changed(  # type: ignore[no-untyped-def]
    ids, sizes, seen, third, to_ids, to_sizes, to_seen, to_third, changed, to_changed
):
    """Copy the buckets that changed in either of two buffers which were equal before.

    ids, sizes, seen, third              the buffer to copy: `seen` and the policy's own third array
    to_ids, to_sizes, to_seen, to_third  the one that becomes equal to it, written
    changed, to_changed                  u1[n_tables, n_buckets], marks of both since they were
                                         equal; zeros afterwards

    Of a bucket, only the ids that it holds are copied: a sparse buffer costs neither
    time nor memory.

    Concurrency: one writer of the target, any readers of the source.  Allocates: nothing.
    Cost: O(buckets), and the ids held in those that changed.  Unchecked: shapes.
    """
    for table in range(changed.shape[0]):
        for bucket in range(changed.shape[1]):
            if changed[table, bucket] | to_changed[table, bucket]:
                size = sizes[table, bucket]
                for i in range(size):
                    to_ids[table, bucket, i] = ids[table, bucket, i]
                to_sizes[table, bucket] = size
                to_seen[table, bucket] = seen[table, bucket]
                to_third[table, bucket] = third[table, bucket]
                changed[table, bucket] = 0
                to_changed[table, bucket] = 0
