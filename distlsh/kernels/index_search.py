"""Search packed tables of dense rows: buckets to candidates, best sketches, exact scores, top-k."""

from __future__ import annotations

import numpy as np

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import (
    F4_2,
    F4_2R,
    I1_2R,
    I2_2R,
    I4_1,
    I4_2,
    I4_2R,
    I4_3R,
    I8_1,
    U1_1,
    b1,
    f4,
    i8,
    void,
)
from distlsh.kernels.index_collect import best_sketches, collect, insert, next_stamp, refine
from distlsh.kernels.prefetch import prefetch_row


@device_function
def _rank_rows(kept, m, rows, query, by_distance, best_ids, best):  # type: ignore[no-untyped-def]
    """Score ``m`` rows exactly and keep the best: inner products, or negative squared distances."""
    last = best.shape[0] - 1
    for i in range(min(m, 4)):
        prefetch_row(rows, np.int64(kept[i]))
    for i in range(m):
        if i + 4 < m:
            prefetch_row(rows, np.int64(kept[i + 4]))
        row = rows[kept[i]]
        score = f4(0.0)
        if by_distance:
            for j in range(query.shape[0]):
                gap = query[j] - row[j]
                score -= gap * gap
        else:
            for j in range(query.shape[0]):
                score += query[j] * row[j]
        if score > best[last] or (score == best[last] and kept[i] < best_ids[last]):
            insert(best, best_ids, score, kept[i])


@kernel(
    void(
        I4_3R, I4_2R, I4_2R, I1_2R, I2_2R, I1_2R, I2_2R, F4_2R, F4_2R, b1, i8, i8, i8,
        U1_1, I4_1, I4_1, I4_1, I4_1, I4_2, F4_2, I8_1,
    )
)  # fmt: skip
def search_rows(  # type: ignore[no-untyped-def]
    codes,
    starts,
    ids,
    sketches,
    query_sketches,
    details,
    query_details,
    rows,
    queries,
    by_distance,
    budget,
    keep,
    exact,
    stamps,
    found,
    scores,
    kept,
    kept_scores,
    out_ids,
    out_scores,
    counts,
):
    """Write the best rows among each query's candidates.

    codes        i4[m, n_tables, n_codes], the queries' buckets, likelier ones first; below 0: none
    starts, ids  i4[n_tables, n_buckets + 1], i4[n_tables, n]: packed tables
    sketches, query_sketches  i1[n, 64], i2[m, 64]; or without columns: none
    details, query_details    i1[n, w], i2[m, w]: second sketches; or without columns: none
    rows         f4[n, d]
    queries      f4[m, d]
    by_distance  score by negative squared distance, otherwise by inner product
    budget       candidates taken of a query at most, >= 1
    keep         of these, rows whose second sketches are compared: those of the best sketches
    exact        of these, rows scored exactly, >= 1; all candidates where there are no sketches
    stamps       u1[n + 1], scratch kept between calls; 255: row removed
    found        i4[n + 1], scratch
    scores, kept, kept_scores  i4[n + 1], scratch
    out_ids      i4[m, k], written: best first, equal scores by lower id, -1 beyond the candidates
    out_scores   f4[m, k], written: -inf beyond the candidates
    counts       i8[m], written: candidates

    Concurrency: scratch is one thread's own.  Allocates: nothing.
    Cost: a cache line and two bytes a candidate, O(keep * w + exact * d) a query.
    Unchecked: shapes, ranges of codes and ids.
    """
    for sample in range(codes.shape[0]):
        stamp = next_stamp(stamps)
        n = collect(codes[sample], starts, ids, budget, stamps, stamp, found)
        counts[sample] = n
        best_ids, best = out_ids[sample], out_scores[sample]
        best[:] = f4(-np.inf)
        best_ids[:] = -1
        if sketches.shape[1] > 0 and exact < n:
            n = best_sketches(found, n, sketches, query_sketches, sample, keep, scores, kept, kept_scores)
            if details.shape[1] > 0 and exact < n:
                n = refine(kept, kept_scores, n, details, query_details, sample, exact)
            _rank_rows(kept, n, rows, queries[sample], by_distance, best_ids, best)
        else:
            _rank_rows(found, n, rows, queries[sample], by_distance, best_ids, best)


@kernel(void(I4_3R, I4_2R, I4_2R, i8, U1_1, I4_1, I8_1, I4_1))
def collect_rows(codes, starts, ids, budget, stamps, found, counts, out):  # type: ignore[no-untyped-def]
    """Write the distinct candidates of all queries one after the other, or only count them.

    codes, starts, ids, budget, stamps, found: as of `search_rows`
    counts  i8[m], written: candidates of each query
    out     i4[sum(counts)], written; or i4[0]: only count

    Concurrency: scratch is one thread's own.  Allocates: nothing.  Cost: O(ids in the buckets).
    Unchecked: shapes, ranges of codes and ids.
    """
    at = 0
    for sample in range(codes.shape[0]):
        n = collect(codes[sample], starts, ids, budget, stamps, next_stamp(stamps), found)
        counts[sample] = n
        if out.shape[0] > 0:
            out[at : at + n] = found[:n]
            at += n
