"""Search packed tables of sets that are kept as bits: buckets to candidates, exact overlaps, top-k."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from distlsh.kernels._bounds import element
from distlsh.kernels._jit import device_function, intrinsic, kernel
from distlsh.kernels._types import (
    F4_2,
    I1_2,
    I1_2R,
    I4_1,
    I4_1R,
    I4_2,
    I4_2R,
    I4_3R,
    I8_1,
    I8_1R,
    U1_1,
    f4,
    i4,
    i8,
    void,
)
from distlsh.kernels.index_collect import collect, insert, next_stamp
from distlsh.kernels.prefetch import prefetch

LINE = 64
SIZE = 4
"""Bytes of a set's size, at the end."""

_AHEAD = 16
_WORDS = 8


def _words(context, builder, array_type, array, place):  # type: ignore[no-untyped-def]
    kind = ir.VectorType(ir.IntType(64), _WORDS).as_pointer()
    start = element(context, builder, array_type, array, place, LINE)
    return builder.load(builder.bitcast(start, kind), align=1)


@intrinsic
def _line_overlap(typingctx, sets, place, queries, query_place):  # type: ignore[no-untyped-def]
    """Return how many bits two lines of 64 bytes, from flat places of i1[n, w] on, have in common."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        first = _words(context, builder, signature.args[0], args[0], args[1])
        second = _words(context, builder, signature.args[2], args[2], args[3])
        wide = first.type
        kind = ir.FunctionType(wide, [wide])
        count = cgutils.get_or_insert_function(builder.module, kind, f"llvm.ctpop.v{_WORDS}i64")
        bits = builder.call(count, [builder.and_(first, second)])
        kind = ir.FunctionType(ir.IntType(64), [wide])
        name = f"llvm.vector.reduce.add.v{_WORDS}i64"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [bits])

    return types.int64(sets, types.int64, queries, types.int64), codegen


@device_function
def _size(sets, row):  # type: ignore[no-untyped-def]
    """Return the number of members, which the last bytes hold."""
    total = np.int64(0)
    for byte in range(SIZE):
        total |= (np.int64(sets[row, sets.shape[1] - SIZE + byte]) & 255) << (8 * byte)
    return total


@device_function
def _overlap(sets, row, queries, sample, size):  # type: ignore[no-untyped-def]
    """Return how many members a set has in common with a query, whose last line holds no size."""
    width = sets.shape[1]
    common = 0
    for start in range(0, width, LINE):
        common += _line_overlap(sets, np.int64(row) * width + start, queries, sample * width + start)
    union = size + _size(sets, row) - common
    return f4(common) / f4(union) if union > 0 else f4(1.0)


@kernel(void(I8_1R, I4_1R, i8, I1_2))
def write_sets(indptr, indices, sized, out):  # type: ignore[no-untyped-def]
    """Write sets as bits.

    indptr, indices  i8[n + 1], i4[nnz]: the members of each set
    sized  1: write sizes to the last 4 bytes; 0: zeros, as queries have there
    out    i1[n, w], written; w a multiple of 64, with 4 bytes more than the largest member needs

    Concurrency: rows are independent.  Allocates: nothing.  Cost: O(nnz + n * w).  Unchecked: members.
    """
    for i in range(out.shape[0]):
        bits = out[i]
        bits[:] = 0
        for place in range(indptr[i], indptr[i + 1]):
            member = indices[place]
            bits[member >> 3] |= np.int8(1 << (member & 7))
        size = indptr[i + 1] - indptr[i]
        for byte in range(SIZE if sized == 1 else 0):
            bits[out.shape[1] - SIZE + byte] = np.int8((size >> (8 * byte)) & 255)


@kernel(void(I4_3R, I4_2R, I4_2R, I1_2R, I1_2R, I8_1R, i8, U1_1, I4_1, I4_2, F4_2, I8_1))
def search_sets(  # type: ignore[no-untyped-def]
    codes, starts, ids, sets, queries, sizes, budget, stamps, found, out_ids, out_scores, counts
):
    """Write the sets of largest Jaccard similarity among each query's candidates.

    codes, starts, ids, budget, stamps, found, out_ids, out_scores, counts: as of `search_rows`
    sets     i1[n, w], from `write_sets` with sizes
    queries  i1[m, w], without
    sizes    i8[m], of the queries

    Two empty sets are equal.
    Concurrency: scratch is one thread's own.  Allocates: nothing.
    Cost: O(ids in the buckets + w * candidates).  Unchecked: shapes, ranges of codes and ids.
    """
    width = sets.shape[1]
    for sample in range(codes.shape[0]):
        n = collect(codes[sample], starts, ids, budget, stamps, next_stamp(stamps), found)
        counts[sample] = n
        best_ids, best = out_ids[sample], out_scores[sample]
        best[:] = f4(-np.inf)
        best_ids[:] = i4(-1)
        last = best.shape[0] - 1
        for i in range(n):
            if i + _AHEAD < n:
                for start in range(0, width, LINE):
                    prefetch(sets, np.int64(found[i + _AHEAD]) * width + start)
            id_ = found[i]
            score = _overlap(sets, id_, queries, sample, sizes[sample])
            if score > best[last] or (score == best[last] and id_ < best_ids[last]):
                insert(best, best_ids, score, id_)
