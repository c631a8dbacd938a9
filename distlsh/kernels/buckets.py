"""Parts that all kernels writing buckets share: finding, taking out, asking for memory ahead.

A table buffer is ``ids`` i4[n_tables, n_buckets, bucket_size] with ``sizes`` i4[n_tables,
n_buckets]: the ids that a bucket holds lie in its places [0, size).
"""

from __future__ import annotations

from distlsh.kernels._jit import device_function
from distlsh.kernels._types import i4
from distlsh.kernels.prefetch import prefetch

AHEAD = 16
"""Rows whose buckets are asked for before they are written: about a memory latency's worth."""

TABLE_GROUP = 16
"""Tables whose codes are taken from the rows together: those that share a cache line of a row."""

_IDS_A_LINE = 16


@device_function
def take_columns(codes, first, columns):  # type: ignore[no-untyped-def]
    """Set ``columns[j]`` to column ``first + j`` of ``codes`` i4[n, n_tables]; return how many there are.

    Tables are gone through one by one, and a row's code of each lies in the same one or
    few cache lines: read one by one, they would be fetched once a table.
    """
    n, n_tables = codes.shape
    width = min(columns.shape[0], n_tables - first)
    for i in range(n):
        for j in range(width):
            columns[j, i] = codes[i, first + j]
    return width


@device_function
def prefetch_place(ids, sizes, table, code):  # type: ignore[no-untyped-def]
    """Ask for the line of a bucket that the next insertion writes."""
    if code >= 0:
        n_buckets, capacity = ids.shape[1], ids.shape[2]
        last = min(sizes[table, code], capacity - 1)
        prefetch(ids, (table * n_buckets + code) * capacity + last)


@device_function
def prefetch_bucket(ids, sizes, table, code):  # type: ignore[no-untyped-def]
    """Ask for every line of a bucket that holds ids."""
    if code >= 0:
        n_buckets, capacity = ids.shape[1], ids.shape[2]
        place = (table * n_buckets + code) * capacity
        for i in range(0, sizes[table, code], _IDS_A_LINE):
            prefetch(ids, place + i)


@device_function
def find(bucket, size, id_):  # type: ignore[no-untyped-def]
    """Return the place of ``id_`` in [0, size), or ``size``.

    Without a branch that leaves the loop, so that the compiler compares whole vectors.
    """
    at = i4(size)
    for i in range(size):
        at = min(at, i4(i) if bucket[i] == id_ else i4(size))
    return at


@device_function
def take_out(bucket, size, id_):  # type: ignore[no-untyped-def]
    """Take ``id_`` out of a bucket if it is held, keeping the order of the others; return the new size."""
    at = find(bucket, size, id_)
    if at == size:
        return size
    for i in range(at, size - 1):
        bucket[i] = bucket[i + 1]
    return size - 1


@device_function
def mark(changed, table, code):  # type: ignore[no-untyped-def]
    """Note that a bucket was written; ``changed`` u1[n_tables, n_buckets], or u1[0, 0] where nobody asks."""
    if changed.shape[0] > 0:
        changed[table, code] = 1
