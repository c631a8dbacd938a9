"""Ternary projections of a single dense vector: a lane is a projection, a bit whether it counts a dimension.

Terms are added in the order of `kernels.ternary`, first those that count positively, so that sums
agree with those to the last bit.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types

from distlsh.kernels._bounds import element
from distlsh.kernels._ir import LANES, VALUES, fold_range, splat, store_line
from distlsh.kernels._jit import intrinsic, kernel
from distlsh.kernels._types import F4_1, F4_2, I4_2R, I4_4R, f4, i8, u2, void
from distlsh.kernels.ternary import GROUP

_MASKS, _MASKS_R = (types.Array(u2, 4, "C", readonly=readonly) for readonly in (False, True))

PANELS = 8
"""Groups of 16 projections summed together: they hide the latency of additions."""


@kernel(void(i8, I4_4R, _MASKS))
def fill_masks(n_dims, lists, masks):  # type: ignore[no-untyped-def]
    """Turn lists of dimensions into bits.

    n_dims  d
    lists   i4[2, n / 4, s, 4], from `ternary.fill_lists`
    masks   u2[2, ceil(n / 128), d, 8], written: bit l of ``masks[sign, g, i, p]`` says whether
            projection 128 * g + 16 * p + l adds (sign 0) or takes away (sign 1) dimension i

    Concurrency: any.  Allocates: nothing.  Cost: O(n * (s + d / 16)).
    """
    masks[:] = 0
    for sign in range(2):
        for group in range(lists.shape[1]):
            for e in range(lists.shape[2]):
                for j in range(GROUP):
                    i = lists[sign, group, e, j]
                    if i < n_dims:
                        projection = group * GROUP + j
                        bit = 1 << (projection % LANES)
                        masks[sign, projection // (LANES * PANELS), i, projection // LANES % PANELS] |= bit


@intrinsic
def _sum_masked(typingctx, vector, masks, group, sums):  # type: ignore[no-untyped-def]
    """Write to lines ``8 * group ..`` of ``sums`` the sums that the bits of ``masks[:, group]`` ask for."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        numbers, bits, number_of_group, into = args
        shape = context.make_array(signature.args[1])(context, builder, bits).shape
        n_groups, height = (builder.extract_value(shape, dim) for dim in (1, 2))
        width = ir.Constant(height.type, PANELS)
        lanes = ir.VectorType(ir.IntType(1), LANES)

        def fold(sign, starts, combine):  # type: ignore[no-untyped-def]
            first = builder.add(builder.mul(n_groups, ir.Constant(height.type, sign)), number_of_group)
            base = builder.mul(builder.mul(first, height), width)

            def step(number, totals):  # type: ignore[no-untyped-def]
                here = element(context, builder, signature.args[0], numbers, number)
                value = splat(builder, builder.load(here))
                at = builder.add(base, builder.mul(number, width))
                new = []
                for j, total in enumerate(totals):
                    offset = builder.add(at, ir.Constant(at.type, j))
                    place = element(context, builder, signature.args[1], bits, offset)
                    mask = builder.bitcast(builder.load(place), lanes)
                    new.append(builder.select(mask, combine(total, value), total))
                return new

            return fold_range(builder, height, starts, step)

        zero = ir.Constant(VALUES, [0.0] * LANES)
        totals = fold(1, fold(0, [zero] * PANELS, builder.fadd), builder.fsub)
        for j, total in enumerate(totals):
            to = builder.add(builder.mul(number_of_group, width), ir.Constant(height.type, j))
            store_line(context, builder, signature.args[3], into, to, total)
        return context.get_dummy_value()

    return types.void(vector, masks, types.int64, sums), codegen


@kernel(void(F4_1, _MASKS_R, F4_2, F4_2), fastmath=False)
def sum_one(vector, masks, sums, coordinates):  # type: ignore[no-untyped-def]
    """Write all projections of a vector as the first lane of lines.

    vector       f4[>= d]
    masks        u2[2, n_groups, d, 8], from `fill_masks`
    sums         f4[8 * n_groups, 16], scratch
    coordinates  f4[<= 128 * n_groups, 16], its first column written

    Concurrency: all but masks is one thread's own.  Allocates: nothing.
    Cost: O(d * n_groups) lines, whatever the density.  Unchecked: shapes.
    Source: Achlioptas 2003, theorem 1.1.
    """
    for group in range(masks.shape[1]):
        _sum_masked(vector, masks, group, sums)
    for i in range(coordinates.shape[0]):
        coordinates[i, 0] = sums[i // LANES, i % LANES]


@kernel(void(F4_1, I4_4R, I4_2R, F4_2), fastmath=False)
def sum_one_lists(vector, lists, lengths, coordinates):  # type: ignore[no-untyped-def]
    """Write all projections of a vector as the first lane of lines, for low densities.

    vector       f4[> d], place d 0
    lists, lengths  i4[2, n / 4, s, 4], i4[2, n / 4], from `ternary.fill_lists`
    coordinates  f4[n, 16], its first column written

    Concurrency: all but lists is one thread's own.  Allocates: nothing.  Cost: O(n * s).
    Unchecked: shapes.  Source: Achlioptas 2003, theorem 1.1.
    """
    for group in range(lists.shape[1]):
        a = b = c = d = f4(0.0)
        for e in range(lengths[0, group]):
            a += vector[lists[0, group, e, 0]]
            b += vector[lists[0, group, e, 1]]
            c += vector[lists[0, group, e, 2]]
            d += vector[lists[0, group, e, 3]]
        for e in range(lengths[1, group]):
            a -= vector[lists[1, group, e, 0]]
            b -= vector[lists[1, group, e, 1]]
            c -= vector[lists[1, group, e, 2]]
            d -= vector[lists[1, group, e, 3]]
        for j in range(GROUP):
            coordinates[group * GROUP + j, 0] = (a, b, c, d)[j]
