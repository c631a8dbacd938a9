"""Gaussian projections of a single dense vector: a lane is a projection.

Sums go from the first dimension to the last by fused multiply-adds, as in `kernels.gaussian`,
and agree with those to the last bit.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types

from distlsh.kernels._bounds import element
from distlsh.kernels._ir import LANES, VALUES, fold_range, fused_multiply_add, load_line, splat, store_line
from distlsh.kernels._jit import intrinsic, kernel
from distlsh.kernels._types import F4_1, F4_2, F4_3R, void
from distlsh.kernels.gaussian import GROUP


@intrinsic
def _project_panels(typingctx, vector, panels, panel, sums):  # type: ignore[no-untyped-def]
    """Write to lines ``panel .. panel+3`` of ``sums`` the products of a vector with those panels."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        numbers, matrix, first, into = args
        height = builder.extract_value(
            context.make_array(signature.args[1])(context, builder, matrix).shape, 1
        )
        bases = [builder.mul(builder.add(first, ir.Constant(height.type, j)), height) for j in range(GROUP)]

        def step(number, totals):  # type: ignore[no-untyped-def]
            place = element(context, builder, signature.args[0], numbers, number)
            value = splat(builder, builder.load(place))
            new = []
            for base, total in zip(bases, totals, strict=True):
                line = load_line(context, builder, signature.args[1], matrix, builder.add(base, number))
                new.append(fused_multiply_add(builder, value, line, total))
            return new

        zero = ir.Constant(VALUES, [0.0] * LANES)
        for j, total in enumerate(fold_range(builder, height, [zero] * GROUP, step)):
            to = builder.add(first, ir.Constant(height.type, j))
            store_line(context, builder, signature.args[3], into, to, total)
        return context.get_dummy_value()

    return types.void(vector, panels, types.int64, sums), codegen


@kernel(void(F4_1, F4_3R, F4_2, F4_2), fastmath=False)
def project_one(vector, panels, sums, coordinates):  # type: ignore[no-untyped-def]
    """Write the products of a vector with all columns of a matrix as the first lane of lines.

    vector       f4[>= d]
    panels       f4[n_panels, d, 16], from `gaussian.fill_gaussian`; n_panels a multiple of 4
    sums         f4[n_panels, 16], scratch
    coordinates  f4[16 * n_panels, 16], its first column written

    Concurrency: all but panels is one thread's own.  Allocates: nothing.
    Cost: O(d * n_panels) lines: one reading of the panels.  Unchecked: shapes.
    """
    for panel in range(0, panels.shape[0], GROUP):
        _project_panels(vector, panels, panel, sums)
    for i in range(coordinates.shape[0]):
        coordinates[i, 0] = sums[i // LANES, i % LANES]
