"""Gaussian projections: dense vectors 16 at a time, sparse ones by the rows of their non-zeros.

A coordinate is summed from the first dimension to the last by fused multiply-adds, in both
ways of computing it, so that they agree to the last bit; a term of 0 changes nothing.
"""

from __future__ import annotations

import math

from llvmlite import ir
from numba.core import types

from distlsh.kernels._bounds import element
from distlsh.kernels._ir import LANES, VALUES, fold_range, fused_multiply_add, load_line, splat, store_line
from distlsh.kernels._jit import device_function, intrinsic, kernel
from distlsh.kernels._types import F4_1R, F4_2, F4_3, F4_3R, I4_1R, I8_1R, f4, f8, i8, u8, void
from distlsh.kernels.random import mix64

TILE = 8
"""Projections computed together: their sums fill half of AVX-512's registers and hide its latency."""

GROUP = 4
"""Panels that a sparse vector's non-zeros are gathered from together."""


@device_function
def _log(x):  # type: ignore[no-untyped-def]
    """Return the natural logarithm of ``x`` in [2**-63, 1) by basic arithmetic: alike on every machine."""
    exponent = 0.0
    while x < 0.7071067811865476:
        x *= 2.0
        exponent -= 1.0
    s = (x - 1.0) / (x + 1.0)
    square = s * s
    total = 0.0
    for k in range(25, 0, -2):
        total = total * square + 1.0 / k
    return exponent * 0.6931471805599453 + 2.0 * s * total


@kernel(void(u8, i8, F4_3), fastmath=False)
def fill_gaussian(seed, n_columns, panels):  # type: ignore[no-untyped-def]
    """Fill ``panels`` with standard normal numbers, each pair by its own hashes of ``seed``.

    n_columns  projections; the columns after them become 0
    panels     f4[ceil(n_columns / 16), d, 16], written: column j is ``panels[j // 16, :, j % 16]``

    Numbers depend on seed, dimension and column alone.
    Concurrency: any.  Allocates: nothing.  Cost: O(n_columns * d).
    Source: Marsaglia & Bray 1964 (polar method); kernels.random.
    """
    base = mix64(seed)
    for panel in range(panels.shape[0]):
        for i in range(panels.shape[1]):
            for lane in range(0, LANES, 2):
                column = panel * LANES + lane
                state = mix64(base ^ mix64(u8(column) << u8(32) | u8(i)))
                square = 0.0
                x, y = 0.0, 0.0
                while square >= 1.0 or square == 0.0:
                    state = mix64(state)
                    x = f8(state >> u8(32)) * 2.0**-31 - 1.0
                    y = f8(state & u8(0xFFFFFFFF)) * 2.0**-31 - 1.0
                    square = x * x + y * y
                length = math.sqrt(-2.0 * _log(square) / square)
                panels[panel, i, lane] = f4(x * length) if column < n_columns else f4(0.0)
                panels[panel, i, lane + 1] = f4(y * length) if column + 1 < n_columns else f4(0.0)


def _place(builder, number, factor, offset):  # type: ignore[no-untyped-def]
    return builder.add(builder.mul(number, ir.Constant(number.type, factor)), offset)


@intrinsic
def _project_tile(typingctx, lines, panel, first, out, at):  # type: ignore[no-untyped-def]
    """Write to lines ``at ..`` of ``out`` the products of ``lines`` with columns ``first ..`` of ``panel``.

    lines f4[>= d, 16], panel f4[d, 16], out f4[n, 16]; TILE columns.
    """
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        vectors, matrix, column, into, line = args
        shape = context.make_array(signature.args[1])(context, builder, matrix).shape
        count = builder.extract_value(shape, 0)

        def step(number, sums):  # type: ignore[no-untyped-def]
            vector = load_line(context, builder, signature.args[0], vectors, number)
            at_row = _place(builder, number, LANES, column)
            new = []
            for j, total in enumerate(sums):
                place = builder.add(at_row, ir.Constant(at_row.type, j))
                factor = builder.load(element(context, builder, signature.args[1], matrix, place))
                new.append(fused_multiply_add(builder, vector, splat(builder, factor), total))
            return new

        zero = ir.Constant(VALUES, [0.0] * LANES)
        for j, total in enumerate(fold_range(builder, count, [zero] * TILE, step)):
            to = builder.add(line, ir.Constant(line.type, j))
            store_line(context, builder, signature.args[3], into, to, total)
        return context.get_dummy_value()

    return types.void(lines, panel, types.int64, out, types.int64), codegen


@kernel(void(F4_3, F4_3R, F4_3), fastmath=False)
def project_lines(lines, panels, coordinates):  # type: ignore[no-untyped-def]
    """Write the products of blocks of vectors with all columns of a matrix.

    lines        f4[>= n_blocks, >= d, 16], from `kernels.blocks`
    panels       f4[n_panels, d, 16], from `fill_gaussian`
    coordinates  f4[n_blocks, 16 * n_panels, 16], written

    Concurrency: all but panels is one thread's own.  Allocates: nothing.
    Cost: O(d * 16 * n_panels) a vector, near the machine's multiply-adds; half a panel, which fits the
    first-level cache to some hundred dimensions, serves all blocks.
    Unchecked: shapes.
    """
    for panel in range(panels.shape[0]):
        for first in range(0, LANES, TILE):
            for block in range(coordinates.shape[0]):
                at = panel * LANES + first
                _project_tile(lines[block], panels[panel], first, coordinates[block], at)


@intrinsic
def _gather_panels(typingctx, indices, values, first, last, panels, panel, sums):  # type: ignore[no-untyped-def]
    """Write to lines ``panel .. panel+3`` of ``sums`` the products of a sparse vector with those panels."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        index_array, value_array, start, stop, matrix, number_of_panel, into = args
        height = builder.extract_value(
            context.make_array(signature.args[4])(context, builder, matrix).shape, 1
        )
        bases = [
            builder.mul(builder.add(number_of_panel, ir.Constant(height.type, j)), height)
            for j in range(GROUP)
        ]

        def step(number, sums_):  # type: ignore[no-untyped-def]
            place = builder.add(start, number)
            index = builder.load(element(context, builder, signature.args[0], index_array, place))
            row = builder.sext(index, height.type)
            number_at = element(context, builder, signature.args[1], value_array, place)
            value = splat(builder, builder.load(number_at))
            new = []
            for base, total in zip(bases, sums_, strict=True):
                line = load_line(context, builder, signature.args[4], matrix, builder.add(base, row))
                new.append(fused_multiply_add(builder, value, line, total))
            return new

        zero = ir.Constant(VALUES, [0.0] * LANES)
        totals = fold_range(builder, builder.sub(stop, start), [zero] * GROUP, step)
        for j, total in enumerate(totals):
            to = builder.add(number_of_panel, ir.Constant(height.type, j))
            store_line(context, builder, signature.args[6], into, to, total)
        return context.get_dummy_value()

    sizes = (types.int64, types.int64)
    return types.void(indices, values, *sizes, panels, types.int64, sums), codegen


@kernel(void(I8_1R, I4_1R, F4_1R, i8, i8, F4_3R, F4_2, F4_3), fastmath=False)
def project_sparse(indptr, indices, values, first, last, panels, sums, coordinates):  # type: ignore[no-untyped-def]
    """Write the products of sparse rows with all columns of a matrix.

    indptr, indices, values  i8[>= last + 1], i4, f4: the rows' non-zeros, ascending
    first, last   rows [first, last) are taken
    panels        f4[n_panels, d, 16], from `fill_gaussian`; n_panels a multiple of 4
    sums          f4[n_panels, 16], scratch
    coordinates   f4[>= ceil((last - first) / 16), 16 * n_panels, 16], written where there are rows

    Concurrency: all but panels is one thread's own.  Allocates: nothing.
    Cost: O(non-zeros * 16 * n_panels), in reads of panels.  Unchecked: shapes, indices.
    """
    n_panels = panels.shape[0]
    for row in range(first, last):
        for panel in range(0, n_panels, GROUP):
            _gather_panels(indices, values, indptr[row], indptr[row + 1], panels, panel, sums)
        block = coordinates[(row - first) // LANES]
        lane = (row - first) % LANES
        for panel in range(n_panels):
            for j in range(LANES):
                block[panel * LANES + j, lane] = sums[panel, j]
