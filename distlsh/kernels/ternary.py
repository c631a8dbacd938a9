"""Projections whose entries are 1, -1 or, mostly, 0: lists of dimensions to add and to take away.

A coordinate is the sum of the dimensions that count positively, from the first to the
last, less the others in the same order, for dense and sparse vectors alike: they agree
to the last bit.

Source: Achlioptas 2003, "Database-friendly random projections", theorem 1.1; Li, Hastie & Church
2006, "Very sparse random projections".
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types

from distlsh.kernels._bounds import element
from distlsh.kernels._ir import LANES, VALUES, fold_range, load_line, store_line
from distlsh.kernels._jit import intrinsic, kernel
from distlsh.kernels._types import (
    F4_1,
    F4_1R,
    F4_3,
    I4_1,
    I4_1R,
    I4_2,
    I4_2R,
    I4_4,
    I4_4R,
    I8_1R,
    I8_2,
    I8_2R,
    i8,
    u8,
    void,
)
from distlsh.kernels.random import bits_at

GROUP = 4
"""Projections summed together, to hide the latency of additions."""


@kernel(void(u8, i8, I4_2R, I4_4, I4_2), fastmath=False)
def fill_lists(seed, n_dims, dims, lists, lengths):  # type: ignore[no-untyped-def]
    """Give each dimension of each projection a random sign.

    n_dims   d, the number of a line of zeros, which fills up lists
    dims     i4[n, s], ascending in a row; n a multiple of 4
    lists    i4[2, n / 4, s, 4], written: projection j adds the dimensions ``lists[0, j // 4, :, j % 4]``
             and takes away those of ``lists[1, ...]``
    lengths  i4[2, n / 4], written: the longest list of a group

    Concurrency: any.  Allocates: nothing.  Cost: O(n * s).
    """
    lists[:] = n_dims
    lengths[:] = 0
    for j in range(dims.shape[0]):
        group = j // GROUP
        n_positive, n_negative = 0, 0
        for e in range(dims.shape[1]):
            if bits_at(seed, j * dims.shape[1] + e) >> u8(63):
                lists[1, group, n_negative, j % GROUP] = dims[j, e]
                n_negative += 1
            else:
                lists[0, group, n_positive, j % GROUP] = dims[j, e]
                n_positive += 1
        lengths[0, group] = max(lengths[0, group], n_positive)
        lengths[1, group] = max(lengths[1, group], n_negative)


@kernel(void(i8, I4_4R, I8_2, I4_1), fastmath=False)
def by_dimension(n_dims, lists, bounds, members):  # type: ignore[no-untyped-def]
    """List, for each dimension, the projections that add it, then those that take it away.

    n_dims   d
    lists    i4[2, n / 4, s, 4], from `fill_lists`
    bounds   i8[d + 1, 2], written: dimension i is added by ``members[bounds[i, 0] : bounds[i, 1]]`` and
             taken away by ``members[bounds[i, 1] : bounds[i + 1, 0]]``
    members  i4[n * s], written, ascending in a dimension and sign

    Concurrency: any.  Allocates: nothing.  Cost: O(n * s + d).
    """
    bounds[:] = 0
    for sign in range(2):
        for group in range(lists.shape[1]):
            for e in range(lists.shape[2]):
                for j in range(GROUP):
                    i = lists[sign, group, e, j]
                    if i < n_dims:
                        bounds[i, sign] += 1
    at = 0
    for i in range(n_dims):
        for sign in range(2):
            count = bounds[i, sign]
            bounds[i, sign] = at
            at += count
    for sign in range(2):
        for group in range(lists.shape[1]):
            for j in range(GROUP):
                for e in range(lists.shape[2]):
                    i = lists[sign, group, e, j]
                    if i < n_dims:
                        members[bounds[i, sign]] = group * GROUP + j
                        bounds[i, sign] += 1
    # Each bound has moved on to where the next begins.
    bounds[n_dims, 0] = at
    for i in range(n_dims - 1, -1, -1):
        bounds[i, 1] = bounds[i, 0]
        bounds[i, 0] = bounds[i - 1, 1] if i > 0 else 0


@intrinsic
def _sum_lists(typingctx, lines, lists, n_added, n_taken, group, out):  # type: ignore[no-untyped-def]
    """Write lines ``4 * group ..`` of ``out``: the sums of the lines that 4 projections list."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        vectors, list_array, added, taken, number_of_group, into = args
        shape = context.make_array(signature.args[1])(context, builder, list_array).shape
        n_groups, length = (builder.extract_value(shape, dim) for dim in (1, 2))
        width = ir.Constant(length.type, GROUP)

        def fold(sign, count, starts, combine):  # type: ignore[no-untyped-def]
            first = builder.add(builder.mul(n_groups, ir.Constant(length.type, sign)), number_of_group)
            base = builder.mul(builder.mul(first, length), width)

            def step(number, sums):  # type: ignore[no-untyped-def]
                at = builder.add(base, builder.mul(number, width))
                new = []
                for j, total in enumerate(sums):
                    place = builder.add(at, ir.Constant(at.type, j))
                    entry = element(context, builder, signature.args[1], list_array, place)
                    line = builder.zext(builder.load(entry), length.type)
                    new.append(combine(total, load_line(context, builder, signature.args[0], vectors, line)))
                return new

            return fold_range(builder, count, starts, step)

        zero = ir.Constant(VALUES, [0.0] * LANES)
        sums = fold(1, taken, fold(0, added, [zero] * GROUP, builder.fadd), builder.fsub)
        for j, total in enumerate(sums):
            to = builder.add(builder.mul(number_of_group, width), ir.Constant(length.type, j))
            store_line(context, builder, signature.args[5], into, to, total)
        return context.get_dummy_value()

    return types.void(lines, lists, types.int64, types.int64, types.int64, out), codegen


@kernel(void(F4_3, I4_4R, I4_2R, F4_3), fastmath=False)
def sum_lines(lines, lists, lengths, coordinates):  # type: ignore[no-untyped-def]
    """Write the projections of blocks of vectors.

    lines           f4[>= n_blocks, > d, 16], from `kernels.blocks`, line d of zeros
    lists, lengths  i4[2, n / 4, s, 4], i4[2, n / 4], from `fill_lists`
    coordinates     f4[n_blocks, n, 16], written

    Concurrency: lines and coordinates are one thread's own.  Allocates: nothing.
    Cost: O(n * s) additions a vector.  Unchecked: shapes.  Source: Achlioptas 2003, theorem 1.1.
    """
    for group in range(lists.shape[1]):
        for block in range(coordinates.shape[0]):
            n_added, n_taken = lengths[0, group], lengths[1, group]
            _sum_lists(lines[block], lists, n_added, n_taken, group, coordinates[block])


@kernel(void(I8_1R, I4_1R, F4_1R, i8, i8, I8_2R, I4_1R, F4_1, F4_3), fastmath=False)
def sum_sparse(  # type: ignore[no-untyped-def]
    indptr, indices, values, first, last, bounds, members, sums, coordinates
):
    """Write the projections of sparse rows.

    indptr, indices, values  i8[>= last + 1], i4, f4: the rows' non-zeros, ascending
    first, last      rows [first, last) are taken
    bounds, members  from `by_dimension`
    sums             f4[n], scratch
    coordinates      f4[>= ceil((last - first) / 16), n, 16], written where there are rows

    Concurrency: scratch and coordinates are one thread's own.  Allocates: nothing.
    Cost: O(n + non-zeros * n * density) a row.  Unchecked: shapes, indices.
    Source: Li, Hastie & Church 2006.
    """
    for row in range(first, last):
        sums[:] = 0.0
        for at in range(indptr[row], indptr[row + 1]):
            i = indices[at]
            for place in range(bounds[i, 0], bounds[i, 1]):
                sums[members[place]] += values[at]
        for at in range(indptr[row], indptr[row + 1]):
            i = indices[at]
            for place in range(bounds[i, 1], bounds[i + 1, 0]):
                sums[members[place]] -= values[at]
        block = coordinates[(row - first) // LANES]
        for j in range(sums.shape[0]):
            block[j, (row - first) % LANES] = sums[j]
