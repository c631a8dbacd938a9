"""What must hold of arrays from files before other kernels may trust them."""

from __future__ import annotations

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import I4_1, I4_1R, I4_2R, I4_3R, I8_1R, i4, i8

GOOD = -1


@kernel(i8(I4_3R, I4_2R, i8, I4_1))
def first_bad_bucket(ids, sizes, n_rows, marks):  # type: ignore[no-untyped-def]
    """Return the first bucket, tables one after the other, that queries could not read; GOOD if none.

    ids     i4[n_tables, n_buckets, bucket_size]: the first ``sizes`` of a bucket lie in [0, n_rows) and
            differ: queries count in 16 bits, and in places, how many buckets hold an id
    sizes   i4[n_tables, n_buckets], in [0, bucket_size]
    marks   i4[n_rows], scratch

    Concurrency: none shared.  Allocates: nothing.  Cost: O(ids held + n_tables * n_rows).
    Unchecked: that shapes agree.
    """
    n_tables, n_buckets, room = ids.shape
    for table in range(n_tables):
        marks[:] = i4(0)
        for bucket in range(n_buckets):
            size = sizes[table, bucket]
            if size < 0 or size > room:
                return table * n_buckets + bucket
            for i in range(size):
                id_ = ids[table, bucket, i]
                if id_ < 0 or id_ >= n_rows or marks[id_] == bucket + 1:
                    return table * n_buckets + bucket
                marks[id_] = i4(bucket + 1)
    return i8(GOOD)


@kernel(i8(I8_1R, I4_1R, i8, i8, i8))
def first_bad_row(indptr, indices, first, n_entries, n_ids):  # type: ignore[no-untyped-def]
    """Return the first row whose entries do not lie where and between what they must; GOOD if none.

    indptr   i8[m + 1]: begins at ``first``, never falls, ends at ``first + n_entries``
    indices  i4[n_entries]: entries ``first ..``, in [0, n_ids), ascending and distinct within a row

    Concurrency: none shared.  Allocates: nothing.  Cost: O(m + n_entries).  Unchecked: nothing.
    """
    rows = indptr.shape[0] - 1
    if rows < 0 or n_entries > indices.shape[0] or indptr[0] != first:
        return i8(0)
    for row in range(rows):
        start, stop = indptr[row] - first, indptr[row + 1] - first
        if stop < start or stop > n_entries:
            return i8(row)
        last = i8(-1)
        for at in range(start, stop):
            id_ = i8(indices[at])
            if id_ <= last or id_ >= n_ids:
                return i8(row)
            last = id_
    return i8(GOOD) if indptr[rows] - first == n_entries else i8(rows)
