"""Sketches of rows, some bits a coordinate, and inner products estimated from them by counting bits.

A row, less a center, is rotated, so that its coordinates look like Gaussian ones of its
own length, and each coordinate is rounded to one of 2**b evenly spaced values: with
``u`` in [0, 2**b), the value is ``u + 0.5 - 2**(b - 1)`` steps.  Bit p of all u's of 64
coordinates is one word.  The query is rounded to whole numbers of -8 .. 7 steps, in four
planes of bits.  So an inner product is a weighted sum of counts of common bits.

A row is ``sketch`` u8[b * words + 1], words = width / 64: the words of bit 0, of bit 1, ...,
and last its factor, a float32 in the low half: the factor that makes the inner product of the
row with its own sketch exact.  Together, since a row's place in memory costs more than its bits.

Source: Gao & Long 2024, "RaBitQ", sections 3.1 to 3.3, for the rotation, the factor and
the query's planes of bits; Max 1960 for the steps.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types

from distlsh.kernels._ir import LANES
from distlsh.kernels._jit import device_function, intrinsic, kernel
from distlsh.kernels._types import F4_1, F4_1R, F4_2, F4_2R, I4_1R, U8_2, f4, i4, i8, u4, u8, void
from distlsh.kernels.blocks import load_block
from distlsh.kernels.lanes import float_of
from distlsh.kernels.prefetch import prefetch
from distlsh.kernels.rotation import spread

WORD = 64
U8_2R = U8_2.copy(readonly=True)
QUERY_PLANES = 4
_AHEAD = 12
"""Rows asked for before they are read: about a memory latency's worth."""
_WORDS_A_LINE = 8


@intrinsic
def count_bits(typingctx, word):  # type: ignore[no-untyped-def]
    """Return how many bits of a uint64 are set."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        del context, signature
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen


@intrinsic
def bits_of(typingctx, number):  # type: ignore[no-untyped-def]
    """Return the bits of a float32 as a uint32."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        del context, signature
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), codegen


@device_function
def prefetch_sketch(sketch, row):  # type: ignore[no-untyped-def]
    """Ask for all lines of a row of ``sketch``."""
    n_words = sketch.shape[1]
    for word in range(0, n_words, _WORDS_A_LINE):
        prefetch(sketch, row * n_words + word)
    prefetch(sketch, row * n_words + n_words - 1)


@device_function
def estimate(sketch, row, planes, offset, step):  # type: ignore[no-untyped-def]
    """Return the estimated inner product of a query with row ``row``, less its center.

    planes  u8[4 * words], offset and step of the query, from `sketch_queries`
    """
    bits = sketch[row]
    words = planes.shape[0] // QUERY_PLANES
    total = i8(0)
    for plane in range((bits.shape[0] - 1) // words):
        of_plane = i8(0)
        for word in range(words):
            mine = bits[plane * words + word]
            of_plane += i8(count_bits(mine & planes[word]))
            of_plane += i8(count_bits(mine & planes[words + word])) << 1
            of_plane += i8(count_bits(mine & planes[2 * words + word])) << 2
            of_plane -= i8(count_bits(mine & planes[3 * words + word])) << 3
        total += of_plane << plane
    factor = float_of(u4(bits[bits.shape[0] - 1] & u8(0xFFFFFFFF)))
    return f4(factor * step * (f4(total) + offset))


@device_function
def _rotate_block(vectors, first, center, signs, lines):  # type: ignore[no-untyped-def]
    """Load up to 16 vectors into ``lines`` f4[width, 16] and rotate them; they grow ``width``-fold."""
    load_block(vectors, first, vectors.shape[0] - 1, center, lines)
    lines[vectors.shape[1] :] = f4(0.0)
    spread(lines, signs)


@device_function
def _scale_lanes(lines, step, width, inverse, factors, half):  # type: ignore[no-untyped-def]
    """Set each lane's 1 / step and the factor that makes its inner product with itself exact."""
    for lane in range(LANES):
        square = f4(0.0)
        for i in range(width):
            square += lines[i, lane] * lines[i, lane]
        size = f4(step * (square / f4(width)) ** f4(0.5))
        inverse[lane] = f4(1.0) / size if size > f4(0.0) else f4(0.0)
        product = f4(0.0)
        for i in range(width):
            product += lines[i, lane] * (f4(_level(lines[i, lane], inverse[lane], half)) + f4(0.5) - f4(half))
        # lines are `width` times too long: two unnormalised rounds of the rotation
        factors[lane] = square / (product * f4(width)) if product > f4(0.0) else f4(0.0)


@device_function
def _level(value, inverse, half):  # type: ignore[no-untyped-def]
    """Return the number, in [0, 2 * half), of the interval that a coordinate lies in."""
    at = value * inverse + f4(half)
    return i4(max(f4(0.0), min(at, f4(2 * half - 1))))


@kernel(void(F4_2R, F4_1R, F4_2R, f4, i8, I4_1R, F4_2, F4_2, U8_2))
def sketch_rows(vectors, center, signs, step, n_planes, rows, lines, scratch, sketch):  # type: ignore[no-untyped-def]
    """Write the sketches of some rows.

    vectors   f4[m, d]
    center    f4[d], subtracted from each
    signs     f4[>= 2, width], of the rotation; width a power of two >= max(64, d)
    step      between two values, over a coordinate's root mean square
    n_planes  bits a coordinate, b
    rows      i4[m], the rows of ``sketch`` to write
    lines     f4[width, 16], scratch
    scratch   f4[2, 16]
    sketch    u8[n_rows, b * width / 64 + 1], written

    Concurrency: one writer; a reader may see half of a new row, which spoils one estimate.
    Allocates: nothing.  Cost: O(m * width * (log(width) + b)).  Unchecked: shapes, range of rows.
    Source: Gao & Long 2024, section 3.1; Max 1960.
    """
    m, width = vectors.shape[0], lines.shape[0]
    words = width // WORD
    half = 1 << (n_planes - 1)
    inverse, factors = scratch[0], scratch[1]
    for first in range(0, m, LANES):
        _rotate_block(vectors, first, center, signs, lines)
        _scale_lanes(lines, step, width, inverse, factors, half)
        for lane in range(min(LANES, m - first)):
            row = sketch[rows[first + lane]]
            for word in range(words):
                for plane in range(n_planes):
                    row[plane * words + word] = u8(0)
                for i in range(WORD):
                    level = u8(_level(lines[word * WORD + i, lane], inverse[lane], half))
                    for plane in range(n_planes):
                        row[plane * words + word] |= ((level >> u8(plane)) & u8(1)) << u8(i)
            row[row.shape[0] - 1] = u8(bits_of(factors[lane]))


@kernel(void(F4_2R, F4_1R, F4_2R, i8, F4_2, U8_2, F4_2))
def sketch_queries(queries, zeros, signs, n_planes, lines, planes, scales):  # type: ignore[no-untyped-def]
    """Write the planes of bits of each query.

    queries   f4[m, d]
    zeros     f4[d]
    signs     f4[>= 2, width], the rows'
    n_planes  bits a coordinate of the rows' sketches
    lines     f4[width, 16], scratch
    planes    u8[m, 4 * width / 64], written: bits of weight 1, 2, 4 and -8
    scales    f4[m, 2], written: what to add to the weighted count, and the length of a step

    Concurrency: scratch is one thread's own.  Allocates: nothing.  Cost: O(m * width * log(width)).
    Unchecked: shapes.  Source: Gao & Long 2024, section 3.3.
    """
    m, width = queries.shape[0], lines.shape[0]
    words = width // WORD
    middle = f4(0.5) - f4(1 << (n_planes - 1))
    for first in range(0, m, LANES):
        _rotate_block(queries, first, zeros, signs, lines)
        for lane in range(min(LANES, m - first)):
            largest = f4(0.0)
            for i in range(width):
                largest = max(largest, abs(lines[i, lane]))
            step = largest / f4(7.5)
            total = i8(0)
            row = planes[first + lane]
            row[:] = u8(0)
            for i in range(width):
                value = i8(0)
                if step > f4(0.0):
                    value = i8(max(f4(-8.0), min(f4(7.0), round(lines[i, lane] / step))))
                total += value
                word, place = i // WORD, u8(i % WORD)
                for plane in range(QUERY_PLANES):
                    row[plane * words + word] |= u8((value >> plane) & 1) << place
            scales[first + lane, 0] = middle * f4(total)
            # the query's lines are `width` times too long, too; its rows' factors made good their own
            scales[first + lane, 1] = step / f4(width)


@kernel(void(U8_2R, I4_1R, i8, U8_2R, F4_2R, i8, F4_1))
def estimate_rows(sketch, ids, n, planes, scales, query, out):  # type: ignore[no-untyped-def]
    """Write the estimated inner products of one query with the rows of the first ``n`` of ``ids``.

    sketch          u8[n_rows, b * words + 1], may be written by others meanwhile
    ids             i4[>= n]
    planes, scales  of all queries, from `sketch_queries`
    query           which of them
    out             f4[>= n], written: inner products with the rows less their center

    Concurrency: readers any number.  Allocates: nothing.  Cost: O(n * b * words), bound by
    cache misses.  Unchecked: ranges.  Source: Gao & Long 2024, section 3.3.
    """
    bits, offset, step = planes[query], scales[query, 0], scales[query, 1]
    for i in range(n):
        if i + _AHEAD < n:
            prefetch_sketch(sketch, i8(ids[i + _AHEAD]))
        out[i] = estimate(sketch, ids[i], bits, offset, step)
