"""Counting what queries find in a sample of rows, for every number of tables and probes at once."""

from __future__ import annotations

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import I4_2R, I4_3R, I8_2, U1_1, i8, u1, void


@kernel(void(I4_2R, I4_3R, I4_3R, U1_1, I8_2, I8_2))
def count_found(order, first, counts, best, gained, reads):  # type: ignore[no-untyped-def]
    """Count the rows that each table's probes find, and at which probe a row is first found.

    order   i4[L, b], rows of the sample by ascending code of a table
    first   i4[m, L, C], where in ``order`` the bucket of a query's probe begins
    counts  i4[m, L, C], and how many rows it has
    best    u1[b], scratch: C, or the least probe so far that found a row
    gained  i8[L, C], updated: rows whose least probe this became with a table, less those that it was before
    reads   i8[L, C], updated: rows read

    Summed over tables up to l and probes up to p, ``gained`` is the number of distinct rows that l + 1
    tables with p probes find, over all queries.
    Concurrency: calls with outputs and scratch of their own.  Allocates: nothing.  Cost: O(rows read + m b).
    Unchecked: ranges; C <= 255.
    """
    n_codes = first.shape[2]
    for query in range(first.shape[0]):
        best[:] = n_codes
        for table in range(order.shape[0]):
            for rank in range(n_codes):
                start = i8(first[query, table, rank])
                size = i8(counts[query, table, rank])
                reads[table, rank] += size
                for place in range(start, start + size):
                    row = order[table, place]
                    before = best[row]
                    if rank < before:
                        best[row] = u1(rank)
                        gained[table, rank] += 1
                        if before < n_codes:
                            gained[table, before] -= 1
