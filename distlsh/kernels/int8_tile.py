"""Products of 8-bit queries and rows, sixteen queries at a time: the inner loops of screening.

A panel holds 16 queries, four coordinates at a time: byte ``64 * g + 4 * i + j`` is coordinate
``4 * g + j`` of query ``i``.  One vector instruction then multiplies four coordinates of a row
with those of 16 queries and adds the products to 16 sums of 32 bits.

Queries are unsigned, their values moved up by ``OFFSET``, because the instructions multiply
unsigned by signed bytes.  The sums start where they make up for it.
"""

from __future__ import annotations

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, types
from numba.core import config as numba_config

from distlsh.kernels._bounds import element
from distlsh.kernels._ir import fold_range, splat
from distlsh.kernels._jit import intrinsic

QUERIES = 16
"""Queries of a panel."""

ROWS = 12
"""Rows of a tile: with one accumulator each they fill most of the 32 vector registers of AVX-512."""

WIDTH = 64
"""Widths of coded vectors are multiples of it: four products for each of 16 sums."""

_INT, _BYTE, _LONG = ir.IntType(32), ir.IntType(8), ir.IntType(64)
_SUMS = ir.VectorType(_INT, QUERIES)
_BYTES = ir.VectorType(_BYTE, 4 * QUERIES)


def _features() -> set[str]:
    """Return the names of the vector instructions that kernels are compiled for."""
    given = numba_config.CPU_FEATURES
    if given is not None:
        return {name[1:] for name in given.split(",") if name.startswith("+")}
    if numba_config.CPU_NAME == "generic":
        return set()
    return {name for name, has in llvmlite.binding.get_host_cpu_features().items() if has}


def _choose() -> str:
    found = _features()
    if {"avx512f", "avx512vnni"} <= found:
        return "vnni"
    return "avx2" if "avx2" in found else "plain"


INSTRUCTIONS = _choose()
"""What the tile is made of: "vnni", "avx2", or "plain" for what LLVM makes of the definition."""

HAS_INT8 = INSTRUCTIONS != "plain"
"""Whether 8-bit products are faster than float32's here."""

LEAST_WORK = 1 << 20
"""Multiply-adds of a query from which on screening is faster than BLAS."""

LEAST_LABELS_A_PLACE = 64
"""Labels for each of the k places from which on few enough are scored."""


def screens(n: int, d: int, k: int) -> bool:
    """Tell whether top-k of n rows of width d is found by screening: it then is faster than by BLAS."""
    return HAS_INT8 and n * d >= LEAST_WORK and n >= LEAST_LABELS_A_PLACE * k


LARGEST = 63 if INSTRUCTIONS == "avx2" else 127
"""Largest absolute value of a query's coordinate: AVX2 adds two products in 16 bits."""

OFFSET = LARGEST + 1
"""What is added to a query's coordinates."""


def _call(builder, name, result, args):  # type: ignore[no-untyped-def]
    kind = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def _part(builder, vector, first, count, step=1):  # type: ignore[no-untyped-def]
    places = [first + step * i for i in range(count)]
    mask = ir.Constant(ir.VectorType(_INT, count), places)
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def add_products_vnni(builder, sums, queries, row):  # type: ignore[no-untyped-def]
    """Return the 16 sums plus four products each, by one instruction of AVX-512 VNNI."""
    args = [sums, builder.bitcast(queries, _SUMS), builder.bitcast(row, _SUMS)]
    return _call(builder, "llvm.x86.avx512.vpdpbusd.512", _SUMS, args)


def add_products_avx2(builder, sums, queries, row):  # type: ignore[no-untyped-def]
    """Return the same by AVX2: pairs of products in 16 bits, then pairs of these in 32."""
    words, eight = ir.VectorType(ir.IntType(16), 16), ir.VectorType(_INT, 8)
    halves = []
    for first in (0, 32):
        args = [_part(builder, vector, first, 32) for vector in (queries, row)]
        pairs = _call(builder, "llvm.x86.avx2.pmadd.ub.sw", words, args)
        halves.append(_call(builder, "llvm.x86.avx2.pmadd.wd", eight, [pairs, ir.Constant(words, [1] * 16)]))
    mask = ir.Constant(ir.VectorType(_INT, 16), list(range(16)))
    return builder.add(sums, builder.shuffle_vector(*halves, mask))


def add_products_plain(builder, sums, queries, row):  # type: ignore[no-untyped-def]
    """Return the same by multiplications of 16 bits, which hold 255 * 127, and widening additions."""
    words = ir.VectorType(ir.IntType(16), 64)
    products = builder.mul(builder.zext(queries, words), builder.sext(row, words))
    for j in range(4):
        sums = builder.add(sums, builder.sext(_part(builder, products, j, QUERIES, 4), _SUMS))
    return sums


ADD_PRODUCTS = {"vnni": add_products_vnni, "avx2": add_products_avx2, "plain": add_products_plain}


def make_dot_tile(add_products):  # type: ignore[no-untyped-def]
    """Return the intrinsic that multiplies a panel with ``ROWS`` rows by ``add_products``."""

    @intrinsic
    def dot_tile(typingctx, panels, panel, codes, first, starts, tile):  # type: ignore[no-untyped-def]
        """Write the products of one panel's queries with rows ``first .. first + ROWS`` of ``codes``.

        panels  u1[n_panels, 16 * d]
        codes   i1[n, d], d a multiple of `WIDTH`
        starts  i4[n], where the sums of a row start
        tile    i4[ROWS, 16], written
        """
        del typingctx

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            def at(i, offset, kind, count):  # type: ignore[no-untyped-def]
                start = element(context, builder, signature.args[i], args[i], offset, count)
                return builder.bitcast(start, kind.as_pointer())

            def number(value):  # type: ignore[no-untyped-def]
                return ir.Constant(_LONG, value)

            codes = context.make_array(signature.args[2])(context, builder, args[2])
            width = builder.extract_value(codes.shape, 1)
            panel_start = builder.mul(args[1], builder.mul(width, number(QUERIES)))
            numbers = [builder.add(args[3], number(i)) for i in range(ROWS)]
            row_starts = [builder.mul(row, width) for row in numbers]
            begin = [splat(builder, builder.load(at(4, row, _INT, 1), align=4)) for row in numbers]

            def step(group, sums):  # type: ignore[no-untyped-def]
                place = builder.add(panel_start, builder.mul(group, number(4 * QUERIES)))
                queries = builder.load(at(0, place, _BYTES, _BYTES.count), align=1)
                four = builder.mul(group, number(4))
                found = []
                for start, value in zip(row_starts, sums, strict=True):
                    word = builder.load(at(2, builder.add(start, four), _INT, 4), align=1)
                    row = builder.bitcast(splat(builder, word), _BYTES)
                    found.append(add_products(builder, value, queries, row))
                return found

            sums = fold_range(builder, builder.sdiv(width, number(4)), begin, step)
            for i, value in enumerate(sums):
                builder.store(value, at(5, number(QUERIES * i), _SUMS, QUERIES), align=4)
            return context.get_dummy_value()

        index = types.int64
        return types.void(panels, index, codes, index, starts, tile), codegen

    return dot_tile


def make_dot_row(add_products):  # type: ignore[no-untyped-def]
    """Return the intrinsic that multiplies one query with one row by ``add_products``."""

    @intrinsic
    def dot_row(typingctx, queries, query, codes, row):  # type: ignore[no-untyped-def]
        """Return the product, i4, of a row of ``queries`` u1[m, d] and a row of ``codes`` i1[n, d].

        d is a multiple of `WIDTH`.
        """
        del typingctx

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            width = builder.extract_value(
                context.make_array(signature.args[2])(context, builder, args[2]).shape, 1
            )

            def step(line, sums):  # type: ignore[no-untyped-def]
                found = []
                for i in (0, 2):
                    place = builder.add(
                        builder.mul(args[i + 1], width), builder.mul(line, ir.Constant(_LONG, WIDTH))
                    )
                    found.append(_load_line(context, builder, signature.args[i], args[i], place, _BYTES))
                return [add_products(builder, sums[0], *found)]

            n_lines = builder.sdiv(width, ir.Constant(_LONG, WIDTH))
            sums = fold_range(builder, n_lines, [ir.Constant(_SUMS, [0] * QUERIES)], step)
            return _call(builder, f"llvm.vector.reduce.add.v{QUERIES}i32", _INT, sums)

        return types.int32(queries, types.int64, codes, types.int64), codegen

    return dot_row


def _load_line(context, builder, kind, array, offset, vector):  # type: ignore[no-untyped-def]
    """Load a vector from a C-order array, from flat element ``offset`` on."""
    start = element(context, builder, kind, array, offset, vector.count)
    return builder.load(builder.bitcast(start, vector.as_pointer()), align=1)


@intrinsic
def reach_mask(typingctx, tile, r, factor, norm, error, offset, facts, bounds, at):  # type: ignore[no-untyped-def]
    """Return a bit for each of 16 queries: whether the upper bound of row ``r`` is not below its k-th best.

    tile                 i4[ROWS, 16], from `dot_tile`
    factor, norm, error  f4, the row's facts
    offset               f4, its bias
    facts                f4[3, m], the queries' steps, norms and errors, at places ``at .. at + 16``
    bounds               f4[m], their k-th best
    A bound that is NaN sets the bit.
    """
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        kinds, lines = signature.args, ir.VectorType(ir.FloatType(), QUERIES)
        at = args[8]

        def number(value):  # type: ignore[no-untyped-def]
            return ir.Constant(_LONG, value)

        width = builder.extract_value(context.make_array(kinds[6])(context, builder, args[6]).shape, 1)
        steps, norms, errors = (
            _load_line(
                context, builder, kinds[6], args[6], builder.add(at, builder.mul(width, number(i))), lines
            )
            for i in range(3)
        )
        row = builder.mul(args[1], number(QUERIES))
        sums = builder.sitofp(_load_line(context, builder, kinds[0], args[0], row, _SUMS), lines)
        factor, norm, error, offset = (splat(builder, args[i]) for i in range(2, 6))
        most = builder.fmul(sums, builder.fmul(factor, steps))
        for a, b in ((errors, norm), (norms, error)):
            most = builder.fadd(most, builder.fmul(a, b))
        most = builder.fadd(most, offset)
        bound = _load_line(context, builder, kinds[7], args[7], at, lines)
        reached = builder.fcmp_unordered(">=", most, bound)
        return builder.zext(builder.bitcast(reached, ir.IntType(QUERIES)), _LONG)

    f4, index = types.float32, types.int64
    return types.int64(tile, index, f4, f4, f4, f4, facts, bounds, index), codegen


dot_tile = make_dot_tile(ADD_PRODUCTS[INSTRUCTIONS])
dot_row = make_dot_row(ADD_PRODUCTS[INSTRUCTIONS])
