"""Exact top-k by 8-bit products: only labels whose bound reaches a query's k-th best are scored in float32.

For a query ``q`` and a row ``w`` rounded to ``q'`` and ``w'``,
``|q.w - q'.w'| <= |q - q'| |w| + |q'| |w - w'|`` (Cauchy and Schwarz): the exact product of the rounded
vectors, in whole numbers, bounds the logit from above.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from distlsh.kernels._jit import device_function, intrinsic, kernel
from distlsh.kernels._types import (
    F4_1,
    F4_1R,
    F4_2,
    F4_2R,
    I1_2,
    I1_2R,
    I4_1,
    I4_1R,
    I4_2,
    I4_2R,
    U1_2,
    U1_2R,
    f4,
    f8,
    i4,
    i8,
    void,
)
from distlsh.kernels.int8_tile import LARGEST, OFFSET, QUERIES, ROWS, dot_row, dot_tile, reach_mask
from distlsh.kernels.prefetch import prefetch
from distlsh.kernels.stored_rows import stored_kernel, value_at
from distlsh.kernels.topk import insert_best

STEP, NORM, ERROR = 0, 1, 2
"""The facts of a coded vector: what one step of its codes is, at least its norm, at least the norm of what
rounding to codes changed."""

_ROWS_BYTES = 1 << 18
"""Codes of rows that meet all queries before the next: they stay in the second level of cache."""

_ROUNDING = 1.2e-7
"""Relative error of a float32 operation, doubled."""

_AHEAD = 4
"""Candidates ahead whose codes are asked for."""

_TINY = 1e-17
"""Squares of smaller numbers may vanish in float32."""

_INFINITE = 0x7F800000
"""Bit pattern of infinity; those of NaN are above."""

_SLACK = 4e-6
"""Relative error that the arithmetic of a bound may have, generously."""


@device_function
def _measure(vectors, i):  # type: ignore[no-untyped-def]
    """Return the largest absolute value and the sum of squares of row i; (0, inf) where one is not finite.

    Compares bit patterns, which are ordered as the absolute values are: the compiler vectorises
    that, and not a maximum of numbers that may be NaN.
    """
    most = i4(0)
    squares = f4(0.0)
    for j in range(vectors.shape[1]):
        value = value_at(vectors, i, j)
        found = i4(_bits_of(value) & i4(0x7FFFFFFF))
        most = found if found > most else most
        squares += value * value
    if most >= _INFINITE or not squares < f4(np.inf):
        return f4(0.0), f4(np.inf)
    return _float_of(i4(most)), squares


@intrinsic
def _float_of(typingctx, bits):  # type: ignore[no-untyped-def]
    """Return the float32 of a pattern of 32 bits."""
    del typingctx, bits

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        del context, signature
        return builder.bitcast(args[0], ir.FloatType())

    return f4(i4), codegen


@intrinsic
def _bits_of(typingctx, value):  # type: ignore[no-untyped-def]
    """Return the pattern of 32 bits of a float32."""
    del typingctx, value

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        del context, signature
        return builder.bitcast(args[0], ir.IntType(32))

    return i4(f4), codegen


@device_function
def _step_of(most, largest):  # type: ignore[no-untyped-def]
    """Return the step of a vector's codes; 0 where its values are too small to be divided by."""
    return most / f4(largest) if most > f4(1e-30) else f4(0.0)


@device_function
def _code(value, inverse, largest):  # type: ignore[no-untyped-def]
    """Return the nearest whole number of ``value * inverse``, within ``largest``."""
    scaled = value * inverse
    nearest = i4(scaled + (f4(0.5) if scaled >= f4(0.0) else f4(-0.5)))
    low, high = i4(-largest), i4(largest)
    nearest = low if nearest < low else nearest
    return high if nearest > high else nearest


@device_function
def _norms(squares, left, width):  # type: ignore[no-untyped-def]
    """Return at least the norm and at least that of the error; both infinite for what is not finite."""
    if not squares < f4(np.inf):
        return f4(np.inf), f4(np.inf)
    more = 1.0 + _SLACK + _ROUNDING * width
    norm = np.sqrt(f8(squares)) * more + _TINY
    return f4(norm), f4(np.sqrt(f8(left)) * more + _SLACK * norm)


@stored_kernel(0, void(F4_2R, I1_2, F4_2, I4_1))
def code_rows(weights, codes, facts, starts):  # type: ignore[no-untyped-def]
    """Round rows to 8 bits, each by a step of its own.

    weights  f4 or u2[n, d] (`stored_rows`), may be written by others meanwhile: then a bound may be of
             neither value
    codes    i1[>= n, d rounded up to a multiple of `int8_tile.WIDTH`], written in n rows; zeros beyond d
    facts    f4[>= n, 3], written: `STEP`, `NORM`, `ERROR`; a row that is not finite has infinite ones
    starts   i4[>= n], written: where sums of products with queries moved by `OFFSET` start

    Concurrency: rows are independent.  Allocates: nothing.  Cost: O(n * d), bound by memory.
    Unchecked: shapes.
    """
    width = weights.shape[1]
    for i in range(weights.shape[0]):
        code = codes[i]
        most, squares = _measure(weights, i)
        step = _step_of(most, 127)
        total = left = f4(0.0)
        if step > f4(0.0):
            inverse = f4(1.0) / step
            for j in range(width):
                value = value_at(weights, i, j)
                found = _code(value, inverse, 127)
                code[j] = found
                total += f4(found)
                rest = value - f4(found) * step
                left += rest * rest
            code[width:] = 0
        else:
            code[:] = 0
            left = squares
        facts[i, STEP] = step
        facts[i, NORM], facts[i, ERROR] = _norms(squares, left, width)
        starts[i] = int(total) * -OFFSET


@kernel(void(F4_2R, f4, i8, U1_2, F4_2))
def code_queries(queries, scale, together, panels, facts):  # type: ignore[no-untyped-def]
    """Round queries to 8 bits and lay them out as `int8_tile` reads them.

    queries   f4[m, d]
    scale     of the logits, above 0
    panels   u1[m / 16 rounded up, 16 * (d rounded up to a multiple of 4)], written
    facts    f4[3, 16 * panels], written: `STEP`; `NORM`, of the rounded query; `ERROR`, with what scoring in
             float32 may be off for a row of norm 1; all times ``scale``; zeros beyond m

    Concurrency: none.  Allocates: nothing.  Cost: O(m * d).  Unchecked: shapes.
    """
    width = queries.shape[1]
    panels[:] = OFFSET
    facts[:] = f4(0.0)
    for i in range(queries.shape[0]):
        query = queries[i]
        panel = panels[i // together]
        most, squares = _measure(queries, i)
        step = _step_of(most, LARGEST)
        left = f4(0.0) if step > f4(0.0) else squares
        if step > f4(0.0):
            inverse = f4(1.0) / step
            for j in range(width):
                found = _code(query[j], inverse, LARGEST)
                panel[(j // 4) * 4 * together + 4 * (i % together) + j % 4] = found + OFFSET
                rest = query[j] - f4(found) * step
                left += rest * rest
        norm, error = _norms(squares, left, width)
        facts[STEP, i] = scale * step
        facts[NORM, i] = scale * (norm + error) * f4(1.0 + _SLACK)
        facts[ERROR, i] = scale * (error + f4(_SLACK + _ROUNDING * width) * norm) + f4(1e-30)


@device_function
def _score(query, weights, i, scale):  # type: ignore[no-untyped-def]
    """Return the logit of row i in float32, as `candidate_topk` computes it."""
    dot = f4(0.0)
    for j in range(query.shape[0]):
        dot += query[j] * value_at(weights, i, j)
    return f4(scale * dot)


@stored_kernel(6, i8(U1_2R, F4_2R, F4_2R, I1_2R, F4_2R, I4_1R, F4_2R, F4_1R, f4, i8, F4_1, I4_2, I4_2, F4_2))
def screen_rows(  # type: ignore[no-untyped-def]
    panels, query_facts, hidden, codes, facts, starts, weights, bias, scale, first, bounds, tile, ids, scores
):
    """Merge the logits of consecutive labels into each query's running top-k; return how many were scored.

    panels       u1[p, 16 * d'], `code_queries` of ``hidden``
    query_facts  f4[3, 16 * p], of the same
    hidden       f4[m, d], m at most 16 * p
    codes        i1[b rounded up to a multiple of `ROWS`, d'], `code_rows` of ``weights``
    facts        f4[>= b, 3]
    starts       i4[as codes]
    weights      f4 or u2[b, d], labels ``first .. first + b``
    bias         f4[b], or f4[0] for none
    scale        of the dot products
    first        label of the first row; calls go upwards, so that of equal scores the lower label stays
    bounds       f4[16 * p], scratch
    tile         i4[ROWS, 16], scratch
    ids          i4[m, k], best first, -1 in unused places; updated
    scores       f4[m, k], descending, -inf in unused places; updated

    A NaN score is never taken.
    Concurrency: none.  Allocates: nothing.  Cost: O(m * b * d) 8-bit products, and O(d) for each score;
    bound by the processor's 8-bit products.  Unchecked: shapes; k >= 1.
    """
    m, n = hidden.shape[0], weights.shape[0]
    last = ids.shape[1] - 1
    bounds[:] = f4(np.inf)
    for i in range(m):
        bounds[i] = scores[i, last]
    size = max(ROWS, _ROWS_BYTES // codes.shape[1] // ROWS * ROWS)
    n_scored = 0
    for begin in range(0, n, size):
        for p in range(panels.shape[0]):
            at = p * QUERIES
            for tile_first in range(begin, min(begin + size, n), ROWS):
                dot_tile(panels, p, codes, tile_first, starts, tile)
                for r in range(min(ROWS, n - tile_first)):
                    i = tile_first + r
                    step, norm, error = facts[i, STEP], facts[i, NORM], facts[i, ERROR]
                    own = bias[i] if bias.shape[0] > 0 else f4(0.0)
                    offset = own + f4(_SLACK) * abs(own)
                    mask = reach_mask(tile, r, step, norm, error, offset, query_facts, bounds, at)
                    query = at
                    while mask != 0 and query < m:
                        if mask & 1:
                            score = _score(hidden[query], weights, i, scale) + own
                            n_scored += 1
                            if score > bounds[query]:
                                insert_best(scores[query], ids[query], score, i4(first + i))
                                bounds[query] = scores[query, last]
                        mask >>= 1
                        query += 1
    return n_scored


@stored_kernel(6, i8(U1_2R, F4_2R, F4_2R, I1_2R, F4_2R, I4_1R, F4_2R, F4_1R, f4, i8, I4_2, F4_2))
def screen_few(  # type: ignore[no-untyped-def]
    queries, query_facts, hidden, codes, facts, starts, weights, bias, scale, first, ids, scores
):
    """Do what `screen_rows` does for a few queries, each by itself: rows are read in order, once.

    queries      u1[m, d'], `code_queries` of ``hidden`` one by one
    query_facts  f4[3, >= m], of the same

    The others as for `screen_rows`, where tiles would be mostly empty.
    Concurrency: none.  Allocates: nothing.  Cost: O(m * b * d) 8-bit products; bound by memory for one query.
    Unchecked: shapes; k >= 1.
    """
    last = ids.shape[1] - 1
    n_scored = 0
    for i in range(weights.shape[0]):
        own = bias[i] if bias.shape[0] > 0 else f4(0.0)
        offset = own + f4(_SLACK) * abs(own)
        for query in range(hidden.shape[0]):
            total = f4(dot_row(queries, query, codes, i) + starts[i])
            most = total * (facts[i, STEP] * query_facts[STEP, query])
            most += facts[i, NORM] * query_facts[ERROR, query] + facts[i, ERROR] * query_facts[NORM, query]
            if not most + offset < scores[query, last]:
                score = _score(hidden[query], weights, i, scale) + own
                n_scored += 1
                if score > scores[query, last]:
                    insert_best(scores[query], ids[query], score, i4(first + i))
    return n_scored


@stored_kernel(6, i8(U1_2R, F4_2R, F4_2R, I1_2R, F4_2R, I4_1R, F4_2R, F4_1R, f4, I4_2R, I4_1R, I4_2, F4_2))
def screen_candidates(  # type: ignore[no-untyped-def]
    queries, query_facts, hidden, codes, facts, starts, weights, bias, scale, candidates, counts, ids, scores
):
    """Rank each query's candidates as `topk.candidate_topk` does; return how many were scored in float32.

    queries     u1[m, d'], `code_queries` of ``hidden`` one by one
    candidates  i4[m, c], distinct labels at places [0, counts[i])
    counts      i4[m]
    ids         i4[m, k], written: best first, equal scores by lower label, -1 beyond the candidates
    scores      f4[m, k], written: -inf beyond the candidates

    The others as for `screen_rows`.  A candidate costs a quarter of the bytes of its float32 row, and these
    are asked for ahead.
    Concurrency: none.  Allocates: nothing.  Cost: O(sum(counts) * d) 8-bit products; bound by memory.
    Unchecked: shapes, label range, counts; k >= 1.
    """
    last = ids.shape[1] - 1
    n_scored = 0
    for query in range(hidden.shape[0]):
        best, best_ids = scores[query], ids[query]
        best[:] = f4(-np.inf)
        best_ids[:] = i4(-1)
        for place in range(counts[query]):
            if place + _AHEAD < counts[query]:
                ahead = candidates[query, place + _AHEAD]
                for j in range(0, codes.shape[1], 64):
                    prefetch(codes, ahead * codes.shape[1] + j)
            i = candidates[query, place]
            own = bias[i] if bias.shape[0] > 0 else f4(0.0)
            offset = own + f4(_SLACK) * abs(own)
            total = f4(dot_row(queries, query, codes, i) + starts[i])
            most = total * (facts[i, STEP] * query_facts[STEP, query])
            most += facts[i, NORM] * query_facts[ERROR, query] + facts[i, ERROR] * query_facts[NORM, query]
            if not most + offset < best[last]:
                score = _score(hidden[query], weights, i, scale) + own
                n_scored += 1
                if score > best[last] or (score == best[last] and i < best_ids[last]):
                    insert_best(best, best_ids, score, i)
    return n_scored
