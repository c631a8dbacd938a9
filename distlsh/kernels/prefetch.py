"""Ask for memory before it is needed: random places of large arrays wait on it."""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types

from distlsh.kernels._jit import device_function, intrinsic

_LINE = 16
"""float32 values of a cache line."""

_WHOLE = 512
_START = 128
"""Rows up to ``_WHOLE`` wide are asked for whole; of a wider row the start is enough, as
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


@device_function
def prefetch_row(array, row):  # type: ignore[no-untyped-def]
    """Start loading row ``row`` of a 2-D float32 array into the second level."""
    width = array.shape[1]
    if width > _WHOLE:
        width = _START
    for j in range(0, width, _LINE):
        _prefetch_to_second_level(array, row * array.shape[1] + j)
