"""Packed hash tables: each table's ids sorted by code, so that a bucket is a slice and none overflows."""

from __future__ import annotations

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import I4_1, I4_1R, I4_2R, i8, void


@kernel(void(I4_2R, i8, I4_1, I4_1))
def pack_table(codes, table, starts, ids):  # type: ignore[no-untyped-def]
    """Sort the ids of one table by code, by counting.

    codes   i4[n, n_tables], each in [0, n_buckets)
    table   column of ``codes``
    starts  i4[n_buckets + 1], written: bucket b is ``ids[starts[b]:starts[b + 1]]``
    ids     i4[n], written: 0 .. n - 1, ascending in a bucket

    Concurrency: tables are independent.  Allocates: nothing.  Cost: O(n + n_buckets).
    Unchecked: range of codes, shapes.
    """
    n_buckets = starts.shape[0] - 1
    starts[:] = 0
    for i in range(codes.shape[0]):
        starts[codes[i, table] + 1] += 1
    for bucket in range(n_buckets):
        starts[bucket + 1] += starts[bucket]
    # Filling moves each start to its bucket's end, which is the next one's start.
    for i in range(codes.shape[0]):
        code = codes[i, table]
        ids[starts[code]] = i
        starts[code] += 1
    for bucket in range(n_buckets, 0, -1):
        starts[bucket] = starts[bucket - 1]
    starts[0] = 0


@kernel(i8(I4_1R, I4_1R, I4_1R, I4_1R, I4_1R, I4_1R, I4_1, I4_1))
def merge_tables(starts, ids, moved, later_starts, later_ids, later_moved, out_starts, out_ids):  # type: ignore[no-untyped-def]
    """Merge one table of two segments into one, bucket by bucket, leaving out removed ids; return its size.

    starts, ids    i4[n_buckets + 1], i4[n]: the first segment's table
    moved          i4[n]: the place of each of its ids in the merged segment, below 0: removed
    later_starts, later_ids, later_moved: the same of the second segment
    out_starts     i4[n_buckets + 1], written
    out_ids        i4[>= ids that stay], written

    Where places ascend with ids, and the second's lie behind the first's, ids ascend in each bucket.
    Concurrency: tables are independent.  Allocates: nothing.  Cost: O(n + n_buckets).  Unchecked: shapes.
    """
    at = 0
    for bucket in range(starts.shape[0] - 1):
        out_starts[bucket] = at
        for i in range(starts[bucket], starts[bucket + 1]):
            if moved[ids[i]] >= 0:
                out_ids[at] = moved[ids[i]]
                at += 1
        for i in range(later_starts[bucket], later_starts[bucket + 1]):
            if later_moved[later_ids[i]] >= 0:
                out_ids[at] = later_moved[later_ids[i]]
                at += 1
    out_starts[starts.shape[0] - 1] = at
    return at
