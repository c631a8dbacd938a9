"""Atomic loads and stores, and a full fence, for kernels."""

from __future__ import annotations

from numba.core import types

from distlsh.kernels._bounds import element
from distlsh.kernels._jit import intrinsic


def _place(context, builder, array_type, array, index):  # type: ignore[no-untyped-def]
    return element(context, builder, array_type, array, index)


@intrinsic
def fence(typingctx):  # type: ignore[no-untyped-def]
    """Let no load or store of this thread pass this point, in either direction.

    Needed on x86 too: a store waits in the core's store buffer while later loads are
    already served, and only a full (sequentially consistent) fence drains it.
    """
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        del signature, args
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def load_shared(typingctx, array, index):  # type: ignore[no-untyped-def]
    """Read ``array[index]`` (i8[n] in memory that others write) once, with acquire ordering."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        place = _place(context, builder, signature.args[0], args[0], args[1])
        return builder.load_atomic(place, "acquire", 8)

    return types.int64(array, types.int64), codegen


@intrinsic
def store_shared(typingctx, array, index, value):  # type: ignore[no-untyped-def]
    """Write ``array[index]`` (i8[n] in memory that others read) once, with release ordering."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        place = _place(context, builder, signature.args[0], args[0], args[1])
        builder.store_atomic(args[2], place, "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), codegen
