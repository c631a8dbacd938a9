"""Buckets of ids in flat arrays: insert, remove, move, copy.

A table buffer is ``ids`` i4[n_tables, n_buckets, bucket_size] with, for each bucket,
``sizes`` (ids held, oldest to newest in places [0, size)), ``seen`` (ids that belong to
it, held or not) and ``unpaired`` (removals that no later insertion has made good;
reservoir only), all i4[n_tables, n_buckets].

Source: SLIDE (Chen et al. 2019), section 3.1, for fixed-size FIFO and reservoir buckets.
"""

from __future__ import annotations

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import I4_1R, I4_2, I4_2R, I4_3, I4_3R, i8, u8, void
from distlsh.kernels.prefetch import prefetch
from distlsh.kernels.random import mix64, scaled

FIFO, RESERVOIR = 0, 1

_AHEAD = 16
"""Rows whose buckets are asked for before they are written: about a memory latency's worth."""


@device_function
def _prefetch_place(ids, sizes, table, code):  # type: ignore[no-untyped-def]
    """Ask for the line of a bucket that the next insertion writes."""
    if code >= 0:
        n_buckets, capacity = ids.shape[1], ids.shape[2]
        last = min(sizes[table, code], capacity - 1)
        prefetch(ids, (table * n_buckets + code) * capacity + last)


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
def _insert(ids, sizes, seen, unpaired, policy, seed, table, code, id_):  # type: ignore[no-untyped-def]
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


@device_function
def _remove(ids, sizes, seen, unpaired, policy, table, code, id_):  # type: ignore[no-untyped-def]
    """Take ``id_`` out of a bucket, keeping the order of the others, if the bucket holds it."""
    bucket = ids[table, code]
    size = sizes[table, code]
    at = 0
    while at < size and bucket[at] != id_:
        at += 1
    if at < size:
        for i in range(at, size - 1):
            bucket[i] = bucket[i + 1]
        sizes[table, code] = size - 1
    seen[table, code] -= 1
    if policy == RESERVOIR:
        unpaired[table, code] += 1


@kernel(void(I4_3, I4_2, I4_2, I4_2, i8, u8, I4_1R, I4_2R))
def insert_rows(ids, sizes, seen, unpaired, policy, seed, rows, codes):  # type: ignore[no-untyped-def]
    """Insert each id into its bucket of every table, in the order given.

    Table by table, so that one table's buckets stay in cache: pass many rows a call.

    ids, sizes, seen, unpaired  one table buffer, written
    policy  FIFO: a full bucket drops its oldest; RESERVOIR: it holds a uniform sample
    seed    of the reservoir's choices
    rows    i4[n], ids not yet in the tables
    codes   i4[n, n_tables], each in [0, n_buckets); below 0: not inserted

    Concurrency: one writer, no readers of this buffer.  Allocates: nothing.
    Cost: O(n * n_tables), times bucket_size where FIFO buckets are full.
    Unchecked: code range, repeated ids.
    Source: Vitter 1985, algorithm R; Gemulla, Lehner & Haas 2008, random pairing.
    """
    n, n_tables = codes.shape
    for table in range(n_tables):
        for i in range(n):
            if i + _AHEAD < n:
                _prefetch_place(ids, sizes, table, codes[i + _AHEAD, table])
            code = codes[i, table]
            if code >= 0:
                _insert(ids, sizes, seen, unpaired, policy, seed, table, code, rows[i])


@kernel(void(I4_3, I4_2, I4_2, I4_2, i8, I4_1R, I4_2R))
def remove_rows(ids, sizes, seen, unpaired, policy, rows, codes):  # type: ignore[no-untyped-def]
    """Take each id out of its bucket of every table.

    rows    i4[n], ids that were inserted with ``codes``, whether their buckets still hold them or not
    codes   i4[n, n_tables]; below 0: was not inserted

    Concurrency: one writer, no readers of this buffer.  Allocates: nothing.
    Cost: O(n * n_tables * bucket_size) at most.
    Unchecked: code range; ids that were never inserted (``seen`` would be wrong).
    Source: Gemulla, Lehner & Haas 2008.
    """
    n, n_tables = codes.shape
    for table in range(n_tables):
        for i in range(n):
            if i + _AHEAD < n:
                _prefetch_place(ids, sizes, table, codes[i + _AHEAD, table])
            code = codes[i, table]
            if code >= 0:
                _remove(ids, sizes, seen, unpaired, policy, table, code, rows[i])


@kernel(i8(I4_3, I4_2, I4_2, I4_2, i8, u8, I4_1R, I4_2R, I4_2R))
def move_rows(ids, sizes, seen, unpaired, policy, seed, rows, old, new):  # type: ignore[no-untyped-def]
    """Move each id whose code changed from its old bucket to its new one; return the moves done.

    rows      i4[n], ids
    old, new  i4[n, n_tables], codes; below 0: not in the table before, or after

    Concurrency: one writer, no readers of this buffer.  Allocates: nothing.
    Cost: O(n * n_tables), and bucket_size for each move.
    Unchecked: code range.  Source: as `insert_rows` and `remove_rows`.
    """
    n, n_tables = new.shape
    moved = 0
    for table in range(n_tables):
        for i in range(n):
            ahead = i + _AHEAD
            if ahead < n and old[ahead, table] != new[ahead, table]:
                _prefetch_place(ids, sizes, table, old[ahead, table])
                _prefetch_place(ids, sizes, table, new[ahead, table])
            before, after = old[i, table], new[i, table]
            if before == after:
                continue
            moved += 1
            if before >= 0:
                _remove(ids, sizes, seen, unpaired, policy, table, before, rows[i])
            if after >= 0:
                _insert(ids, sizes, seen, unpaired, policy, seed, table, after, rows[i])
    return moved


@kernel(void(I4_3R, I4_2R, I4_3))
def copy_buckets(source, sizes, target):  # type: ignore[no-untyped-def]
    """Copy the ids that each bucket holds, and nothing else, from one buffer to another.

    source, target  i4[n_tables, n_buckets, bucket_size]
    sizes           i4[n_tables, n_buckets], of ``source``

    Empty places are not touched, so a sparse buffer costs neither time nor memory.

    Concurrency: one writer of ``target``, any readers of ``source``.  Allocates: nothing.
    Cost: O(ids held).  Unchecked: shapes.
    """
    for table in range(sizes.shape[0]):
        for bucket in range(sizes.shape[1]):
            for i in range(sizes[table, bucket]):
                target[table, bucket, i] = source[table, bucket, i]
