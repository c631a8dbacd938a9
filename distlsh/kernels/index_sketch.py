"""Sketches: a vector's leading components as int8, to rank candidates before their rows are read.

A sketch is some lines of 64 bytes.  Its last 4 bytes are a bias, the others components, so
that looking at a candidate's first sketch costs one cache line.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from distlsh.kernels._bounds import element
from distlsh.kernels._jit import device_function, intrinsic, kernel
from distlsh.kernels._types import F4_2R, I1_2, I2_2, f4, i4, i8, void

LINE = 64
BIAS = 4
"""Bytes of the bias, at the end."""

LARGEST = 127
LARGEST_QUERY = 8191
"""Queries have 16 bits, as they may lie farther out than any row; more could overflow a score."""


def _pointer(context, builder, array_type, array, place, kind, count):  # type: ignore[no-untyped-def]
    """Return a pointer to ``count`` elements of an array from flat ``place`` on, as one to ``kind``."""
    return builder.bitcast(element(context, builder, array_type, array, place, count), kind.as_pointer())


@intrinsic
def _line_product(typingctx, sketches, place, queries, query_place):  # type: ignore[no-untyped-def]
    """Return the inner product of 64 elements of i1[n, w] and 64 of i2[m, w], from flat places on."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        array, at, query_array, query_at = args
        word, byte, half = ir.IntType(32), ir.IntType(8), ir.IntType(16)
        wide = ir.VectorType(word, LINE)
        first = _pointer(context, builder, signature.args[0], array, at, ir.VectorType(byte, LINE), LINE)
        second = _pointer(
            context, builder, signature.args[2], query_array, query_at, ir.VectorType(half, LINE), LINE
        )
        values, others = builder.load(first, align=1), builder.load(second, align=1)
        products = builder.mul(builder.sext(values, wide), builder.sext(others, wide))
        kind = ir.FunctionType(word, [wide])
        name = f"llvm.vector.reduce.add.v{LINE}i32"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [products])

    return types.int32(sketches, types.int64, queries, types.int64), codegen


@intrinsic
def _bias(typingctx, sketches, place):  # type: ignore[no-untyped-def]
    """Return the int32 whose bytes start at flat element ``place`` of i1[n, w]."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], ir.IntType(32), BIAS)
        return builder.load(pointer, align=4)

    return types.int32(sketches, types.int64), codegen


@device_function
def sketch_score(sketches, row, queries, sample):  # type: ignore[no-untyped-def]
    """Return ``2 * dot(sketch, query) - bias`` of a row of i1[n, w] and one of i2[m, w].

    The query's last 4 places are 0: there lies the sketch's bias.
    """
    width = sketches.shape[1]
    first, query_first = np.int64(row) * width, np.int64(sample) * width
    total = i4(0)
    for start in range(0, width, LINE):
        total += _line_product(sketches, first + start, queries, query_first + start)
    return i4(2) * total - _bias(sketches, first + width - BIAS)


@kernel(void(F4_2R, i8, f4, i8, I1_2))
def write_sketches(components, first, scale, by_distance, sketches):  # type: ignore[no-untyped-def]
    """Write the sketches of projected vectors.

    components  f4[n, c], of which those from ``first`` on are sketched, as many as there is room for
    scale       int8 steps a unit; larger components are clipped
    by_distance  1: the bias is the squared length of what was kept, so that scores order by distance;
                0: it is 0, so that they order by inner product
    sketches    i1[n, w], written; w a multiple of 64

    Concurrency: rows are independent.  Allocates: nothing.  Cost: O(n * w).  Unchecked: shapes.
    """
    room = sketches.shape[1] - BIAS
    used = max(0, min(components.shape[1] - first, room))
    for i in range(components.shape[0]):
        sketch = sketches[i]
        sketch[:] = 0
        total = i4(0)
        for j in range(used):
            value = min(max(np.rint(components[i, first + j] * scale), f4(-LARGEST)), f4(LARGEST))
            sketch[j] = np.int8(value)
            total += i4(value) * i4(value) * by_distance
        for byte in range(BIAS):
            sketch[room + byte] = np.int8((total >> (8 * byte)) & 255)


@kernel(void(F4_2R, i8, f4, I2_2))
def write_queries(components, first, scale, queries):  # type: ignore[no-untyped-def]
    """Write queries as `sketch_score` takes them.

    components, first, scale: as of `write_sketches`
    queries     i2[m, w], written

    Concurrency: rows are independent.  Allocates: nothing.  Cost: O(m * w).  Unchecked: shapes.
    """
    used = max(0, min(components.shape[1] - first, queries.shape[1] - BIAS))
    for i in range(components.shape[0]):
        queries[i, :] = 0
        for j in range(used):
            value = np.rint(components[i, first + j] * scale)
            queries[i, j] = np.int16(min(max(value, f4(-LARGEST_QUERY)), f4(LARGEST_QUERY)))
