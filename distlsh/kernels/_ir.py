"""Pieces of LLVM code on vectors of 16 lanes, for the intrinsics of other kernel modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils

from distlsh.kernels._bounds import element

LANES = 16
"""Vectors that a block of lines holds."""

INT = ir.IntType(32)
VALUES = ir.VectorType(ir.FloatType(), LANES)
KEYS = ir.VectorType(INT, LANES)


def exact_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that only kernels call, without leave to reorder or fuse floating-point operations.

    Where codes come from the result, it must be the same whatever the compiler knows of the
    machine and of the code around; the calling kernel must be compiled with ``fastmath=False``.
    """
    compiled: Callable[..., Any] = numba.njit(nogil=True, error_model="numpy")(function)
    return compiled


def line_pointer(context, builder, array_type, array, offset, kind):  # type: ignore[no-untyped-def]
    """Return a pointer to the 16 elements that start at flat element ``offset``."""
    return builder.bitcast(
        element(context, builder, array_type, array, offset, kind.count), kind.as_pointer()
    )


def _times_lanes(builder, line):  # type: ignore[no-untyped-def]
    return builder.mul(line, ir.Constant(line.type, LANES))


def load_line(context, builder, array_type, array, line, kind=VALUES):  # type: ignore[no-untyped-def]
    """Load line ``line`` of an array whose last dimension is 16."""
    pointer = line_pointer(context, builder, array_type, array, _times_lanes(builder, line), kind)
    return builder.load(pointer, align=4)


def store_line(context, builder, array_type, array, line, value):  # type: ignore[no-untyped-def]
    """Store a line of an array whose last dimension is 16."""
    pointer = line_pointer(context, builder, array_type, array, _times_lanes(builder, line), value.type)
    builder.store(value, pointer, align=4)


def store_lines(context, builder, array_type, array, first, values):  # type: ignore[no-untyped-def]
    """Store adjacent lines from ``first`` on."""
    for i, value in enumerate(values):
        store_line(context, builder, array_type, array, builder.add(first, ir.Constant(first.type, i)), value)


def splat(builder, scalar):  # type: ignore[no-untyped-def]
    """Return the vector of 16 times ``scalar``."""
    kind = ir.VectorType(scalar.type, LANES)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(INT, 0))
    return builder.shuffle_vector(one, one, ir.Constant(KEYS, [0] * LANES))


def keys_of(number):  # type: ignore[no-untyped-def]
    """Return the constant vector of 16 times a 32-bit number."""
    return ir.Constant(KEYS, [number] * LANES)


def fused_multiply_add(builder, a, b, c):  # type: ignore[no-untyped-def]
    """Return the lines ``a * b + c``, rounded once, on every machine."""
    kind = ir.FunctionType(VALUES, [VALUES, VALUES, VALUES])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32")
    return builder.call(function, [a, b, c])


def fold_range(builder, count, starts, step):  # type: ignore[no-untyped-def]
    """Run ``values = step(number, values)`` for number in [0, count), from ``starts``; return the last.

    count   an integer of 64 bits, may be 0
    starts  values (of LLVM) before the first step
    """
    before = builder.block
    head = builder.append_basic_block("head")
    body = builder.append_basic_block("body")
    after = builder.append_basic_block("after")
    builder.branch(head)
    builder.position_at_end(head)
    number = builder.phi(count.type)
    number.add_incoming(ir.Constant(count.type, 0), before)
    values = []
    for start in starts:
        phi = builder.phi(start.type)
        phi.add_incoming(start, before)
        values.append(phi)
    builder.cbranch(builder.icmp_signed("<", number, count), body, after)
    builder.position_at_end(body)
    following = step(number, values)
    number.add_incoming(builder.add(number, ir.Constant(count.type, 1)), builder.block)
    for phi, value in zip(values, following, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return values
