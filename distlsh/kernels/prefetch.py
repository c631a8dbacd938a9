"""Ask for rows before they are needed: random rows of large arrays wait on memory."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from distlsh.kernels._jit import device_function

_LINE = 16
"""float32 values of a cache line."""

_WHOLE = 512
_START = 128
"""Rows up to ``_WHOLE`` wide are asked for whole; of a wider row the start is enough, as
the hardware prefetcher follows it.  Both measured with ``benchmarks/kernels/model.py``."""


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(typing_context: Any, array: Any, row: Any, column: Any) -> Any:
    """Start loading the cache line of ``array[row, column]`` into the second level."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array_type = signature.args[0]
        view = context.make_array(array_type)(context, builder, args[0])
        index = [
            context.cast(builder, arg, kind, types.intp)
            for arg, kind in zip(args[1:], signature.args[1:], strict=True)
        ]
        place = cgutils.get_item_pointer(context, builder, array_type, view, index, wraparound=False)
        byte_pointer, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte_pointer, i32, i32, i32]),
            "llvm.prefetch.p0",
        )
        # Arguments: read, keep in the second level, data.
        builder.call(function, [builder.bitcast(place, byte_pointer), i32(0), i32(2), i32(1)])
        return context.get_dummy_value()

    return types.void(array, row, column), generate


@device_function
def prefetch_row(array, row):  # type: ignore[no-untyped-def]
    """Start loading row ``row`` of a 2-D float32 array."""
    width = array.shape[1]
    if width > _WHOLE:
        width = _START
    for j in range(0, width, _LINE):
        _prefetch(array, row, j)
