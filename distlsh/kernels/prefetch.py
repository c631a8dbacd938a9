"""Ask for memory before it is needed: random places of large arrays wait on it."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from distlsh.kernels._jit import device_function, intrinsic, overload

_LINE_BYTES = 64

_WHOLE_LINES = 16
_START_LINES = 8
"""Rows of up to ``_WHOLE_LINES`` are asked for whole; of a longer row the start is enough, as
the hardware prefetcher follows it.  Both measured with ``benchmarks/kernels/roofline.py``."""


def _make_prefetch(level):  # type: ignore[no-untyped-def]
    @intrinsic
    def prefetch(typingctx, array, index):  # type: ignore[no-untyped-def]
        """Ask for the cache line of flat element ``index`` of a C-order array; only a hint."""
        del typingctx

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            place = builder.bitcast(builder.gep(data, [args[1]]), byte)
            kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            read, keep, is_data = number(0), number(4 - level), number(1)
            builder.call(function, [place, read, keep, is_data])
            return context.get_dummy_value()

        return types.void(array, types.int64), codegen

    return prefetch


prefetch = _make_prefetch(1)
_prefetch_to_second_level = _make_prefetch(2)


def line_values(array: Any) -> Any:
    """Return how many of the array's values a cache line holds: for kernels, to which it is a constant."""
    raise NotImplementedError


@overload(line_values)
def _line_values(array):  # type: ignore[no-untyped-def]
    n = _LINE_BYTES * 8 // array.dtype.bitwidth
    return lambda array: n


@device_function
def prefetch_row(array, row):  # type: ignore[no-untyped-def]
    """Start loading row ``row`` of a 2-D array into the second level."""
    line, width = line_values(array), array.shape[1]
    if width > _WHOLE_LINES * line:
        width = _START_LINES * line
    for j in range(0, width, line):
        _prefetch_to_second_level(array, row * array.shape[1] + j)
