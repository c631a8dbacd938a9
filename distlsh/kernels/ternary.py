"""Projections whose entries are 1, -1 or, mostly, 0: lists of signed dimensions, no multiplication.

A coordinate is summed from the first dimension to the last, for dense and sparse vectors
alike, so that they agree to the last bit.

Source: Achlioptas 2003, "Database-friendly random projections", theorem 1.1; Li, Hastie & Church
2006, "Very sparse random projections".
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types

from distlsh.kernels._ir import INT, KEYS, LANES, VALUES, fold_range, load_line, splat, store_line
from distlsh.kernels._jit import intrinsic, kernel
from distlsh.kernels._types import (
    F4_1,
    F4_1R,
    F4_3,
    I4_1,
    I4_1R,
    I4_2R,
    I4_3,
    I4_3R,
    I8_1,
    I8_1R,
    i8,
    u8,
    void,
)
from distlsh.kernels.random import bits_at

GROUP = 4
"""Projections summed together, to hide the latency of additions."""


@kernel(void(u8, I4_2R, I4_3))
def fill_lists(seed, dims, lists):  # type: ignore[no-untyped-def]
    """Give each dimension of each projection a random sign.

    dims   i4[n, s], ascending in a row
    lists  i4[n / 4, s, 4], written: projection j is ``lists[j // 4, :, j % 4]``, its entries
           2 * dimension + (1 if negative)

    Concurrency: any.  Allocates: nothing.  Cost: O(n * s).
    """
    for j in range(dims.shape[0]):
        for e in range(dims.shape[1]):
            negative = bits_at(seed, j * dims.shape[1] + e) >> u8(63)
            lists[j // GROUP, e, j % GROUP] = 2 * dims[j, e] + i8(negative)


@kernel(void(I4_3R, I8_1, I4_1))
def by_dimension(lists, starts, members):  # type: ignore[no-untyped-def]
    """List, for each dimension, the projections that take it.

    lists    i4[n / 4, s, 4], from `fill_lists`
    starts   i8[d + 2], written: dimension i has ``members[starts[i] : starts[i + 1]]``
    members  i4[n * s], written: 2 * projection + (1 if negative), ascending in a dimension

    Concurrency: any.  Allocates: nothing.  Cost: O(n * s + d).
    """
    starts[:] = 0
    for group in range(lists.shape[0]):
        for e in range(lists.shape[1]):
            for j in range(GROUP):
                starts[(lists[group, e, j] >> 1) + 2] += 1
    for i in range(2, starts.shape[0]):
        starts[i] += starts[i - 1]
    for group in range(lists.shape[0]):
        for j in range(GROUP):
            for e in range(lists.shape[1]):
                entry = lists[group, e, j]
                at = starts[(entry >> 1) + 1]
                members[at] = 2 * (group * GROUP + j) + (entry & 1)
                starts[(entry >> 1) + 1] = at + 1


@intrinsic
def _sum_lists(typingctx, lines, lists, group, out):  # type: ignore[no-untyped-def]
    """Write lines ``4 * group ..`` of ``out``: the signed sums of the lines that 4 projections list."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        vectors, list_array, number_of_group, into = args
        view = context.make_array(signature.args[1])(context, builder, list_array)
        length = builder.extract_value(view.shape, 1)
        width = ir.Constant(length.type, GROUP)
        base = builder.mul(builder.mul(number_of_group, length), width)

        def step(number, sums):  # type: ignore[no-untyped-def]
            at = builder.add(base, builder.mul(number, width))
            new = []
            for j, total in enumerate(sums):
                place = builder.add(at, ir.Constant(at.type, j))
                entry = builder.load(builder.gep(view.data, [place]))
                line = builder.zext(builder.lshr(entry, ir.Constant(INT, 1)), length.type)
                value = load_line(context, builder, signature.args[0], vectors, line, KEYS)
                sign = splat(builder, builder.shl(entry, ir.Constant(INT, 31)))
                new.append(builder.fadd(total, builder.bitcast(builder.xor(value, sign), VALUES)))
            return new

        zero = ir.Constant(VALUES, [0.0] * LANES)
        for j, total in enumerate(fold_range(builder, length, [zero] * GROUP, step)):
            to = builder.add(builder.mul(number_of_group, width), ir.Constant(length.type, j))
            store_line(context, builder, signature.args[3], into, to, total)
        return context.get_dummy_value()

    return types.void(lines, lists, types.int64, out), codegen


@kernel(void(F4_3, I4_3R, F4_3))
def sum_lines(lines, lists, coordinates):  # type: ignore[no-untyped-def]
    """Write the projections of blocks of vectors.

    lines        f4[>= n_blocks, >= d, 16], from `kernels.blocks`
    lists        i4[n / 4, s, 4], from `fill_lists`
    coordinates  f4[n_blocks, n, 16], written

    Concurrency: all but lists is one thread's own.  Allocates: nothing.  Cost: O(n * s) additions a vector.
    Unchecked: shapes.  Source: Achlioptas 2003, theorem 1.1.
    """
    for group in range(lists.shape[0]):
        for block in range(coordinates.shape[0]):
            _sum_lists(lines[block], lists, group, coordinates[block])


@kernel(void(I8_1R, I4_1R, F4_1R, i8, i8, I8_1R, I4_1R, F4_1, F4_3), fastmath=False)
def sum_sparse(  # type: ignore[no-untyped-def]
    indptr, indices, values, first, last, starts, members, sums, coordinates
):
    """Write the projections of sparse rows.

    indptr, indices, values  i8[>= last + 1], i4, f4: the rows' non-zeros, ascending
    first, last      rows [first, last) are taken
    starts, members  from `by_dimension`
    sums             f4[n], scratch
    coordinates      f4[>= ceil((last - first) / 16), n, 16], written where there are rows

    Concurrency: scratch and coordinates are one thread's own.  Allocates: nothing.
    Cost: O(n + non-zeros * n * density) a row.  Unchecked: shapes, indices.
    Source: Li, Hastie & Church 2006.
    """
    for row in range(first, last):
        sums[:] = 0.0
        for at in range(indptr[row], indptr[row + 1]):
            value = values[at]
            for place in range(starts[indices[at]], starts[indices[at] + 1]):
                member = members[place]
                sums[member >> 1] += -value if member & 1 else value
        block = coordinates[(row - first) // LANES]
        for j in range(sums.shape[0]):
            block[j, (row - first) % LANES] = sums[j]
