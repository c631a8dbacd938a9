"""Search packed tables of sparse rows and of sets: buckets to candidates, exact scores, top-k."""

from __future__ import annotations

import numpy as np

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import (
    F4_1,
    F4_1R,
    F4_2,
    I4_1,
    I4_1R,
    I4_2,
    I4_2R,
    I4_3R,
    I8_1,
    I8_1R,
    U1_1,
    f4,
    i8,
    void,
)
from distlsh.kernels.index_collect import collect, insert, next_stamp
from distlsh.kernels.prefetch import prefetch

BY_PRODUCT, BY_DISTANCE, BY_OVERLAP = 0, 1, 2

_AHEAD = 4
_LINE = 16
_LINES = 8
"""Cache lines of a row that are asked for ahead; the hardware prefetcher goes on from there."""


@device_function
def _ask_for(indptr, indices, values, row):  # type: ignore[no-untyped-def]
    last = min(indptr[row + 1], indptr[row] + _LINE * _LINES)
    for place in range(indptr[row], last, _LINE):
        prefetch(indices, place)
        prefetch(values, place)


@device_function
def _score(indptr, indices, values, row, query, square, kind):  # type: ignore[no-untyped-def]
    """Return the inner product of a row and the query, its negative squared distance, or its overlap."""
    dot, own = 0.0, 0.0
    for place in range(indptr[row], indptr[row + 1]):
        value = values[place]
        dot += value * query[indices[place]]
        own += value * value
    if kind == BY_DISTANCE:
        return f4(-max(0.0, square + own - 2.0 * dot))
    if kind == BY_OVERLAP:
        union = square + own - dot
        return f4(dot / union) if union > 0.0 else f4(1.0)
    return f4(dot)


@kernel(
    void(
        I4_3R, I4_2R, I4_2R, I8_1R, I4_1R, F4_1R, I8_1R, I4_1R, F4_1R, i8, i8,
        U1_1, I4_1, F4_1, I4_2, F4_2, I8_1,
    )
)  # fmt: skip
def search_sparse(  # type: ignore[no-untyped-def]
    codes,
    starts,
    ids,
    indptr,
    indices,
    values,
    query_indptr,
    query_indices,
    query_values,
    kind,
    budget,
    stamps,
    found,
    query,
    out_ids,
    out_scores,
    counts,
):
    """Write the best rows among each query's candidates.

    codes, starts, ids, budget, stamps, found, out_ids, out_scores, counts: as of `search_rows`
    indptr, indices, values: i8[n + 1], i4[nnz], f4[nnz], the rows
    query_indptr, query_indices, query_values: i8[m + 1], i4[], f4[], the queries
    kind    BY_PRODUCT, BY_DISTANCE (negative squared) or BY_OVERLAP (Jaccard similarity of sets,
            whose values are all 1; two empty sets are equal)
    query   f4[n_dims], scratch, zeros before and after

    Concurrency: scratch is one thread's own.  Allocates: nothing.
    Cost: O(ids in the buckets + non-zeros of the candidates).
    Unchecked: shapes, ranges of codes, ids and indices.
    """
    for sample in range(codes.shape[0]):
        n = collect(codes[sample], starts, ids, budget, stamps, next_stamp(stamps), found)
        counts[sample] = n
        best_ids, best = out_ids[sample], out_scores[sample]
        best[:] = f4(-np.inf)
        best_ids[:] = -1
        last = best.shape[0] - 1
        square = 0.0
        for place in range(query_indptr[sample], query_indptr[sample + 1]):
            query[query_indices[place]] = query_values[place]
            square += query_values[place] * query_values[place]
        for i in range(n):
            if i + _AHEAD < n:
                _ask_for(indptr, indices, values, found[i + _AHEAD])
            id_ = found[i]
            score = _score(indptr, indices, values, id_, query, square, kind)
            if score > best[last] or (score == best[last] and id_ < best_ids[last]):
                insert(best, best_ids, score, id_)
        for place in range(query_indptr[sample], query_indptr[sample + 1]):
            query[query_indices[place]] = 0.0
