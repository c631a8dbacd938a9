"""How rows of weights are stored: the one place that knows how a value is loaded and stored.

Rows are float32, or bfloat16 kept as uint16: a float32's higher half.  A bfloat16 has 8 bits of
precision, so most updates are smaller than the step to the next value and would be lost by rounding to
the nearest.  They are rounded at random instead, up with the probability that keeps the expectation
(Gupta et al. 2015, "Deep learning with limited numerical precision", section 3).  The randomness is a
hash of a salt, which the caller draws from sample and row, and of the column: no state is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from distlsh.kernels._jit import device_function, intrinsic, kernel, overload
from distlsh.kernels._types import f4, u2, u4, u8
from distlsh.kernels.random import mix64

_HALF = 16
_BY_COLUMN = 0x9E3779B1
_MIX = ((16, 0x7FEB352D), (15, 0x846CA68B))
"""Shifts and factors of Wellons's lowbias32; its last shift would not reach the half that is used."""

_INT32, _FLOAT = ir.IntType(32), ir.FloatType()


@intrinsic
def _widened(typingctx, bits):  # type: ignore[no-untyped-def]
    """Return the float32 of a bfloat16's bits."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        del context, signature
        return builder.bitcast(builder.shl(builder.zext(args[0], _INT32), _INT32(_HALF)), _FLOAT)

    return types.float32(types.uint16), codegen


@intrinsic
def _rounded(typingctx, value, salt, column):  # type: ignore[no-untyped-def]
    """Return the bits of one of the two bfloat16s around a float32, at random by ``salt`` and ``column``."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        del context, signature
        value, salt, column = args
        noise = builder.mul(builder.trunc(column, _INT32), _INT32(_BY_COLUMN))
        noise = builder.add(noise, salt)
        for shift, factor in _MIX:
            noise = builder.mul(builder.xor(noise, builder.lshr(noise, _INT32(shift))), _INT32(factor))
        noise = builder.lshr(noise, _INT32(_HALF))
        bits = builder.add(builder.bitcast(value, _INT32), noise)
        return builder.trunc(builder.lshr(bits, _INT32(_HALF)), ir.IntType(16))

    return types.uint16(types.float32, types.uint32, types.int64), codegen


def value_at(rows: Any, row: Any, column: Any) -> Any:
    """Return one value of ``rows`` f4 or u2[n, d] as float32: for kernels."""
    raise NotImplementedError


def put(rows: Any, row: Any, column: Any, value: Any, salt: Any) -> None:
    """Store a float32 in ``rows`` f4 or u2[n, d]; ``salt`` u4 decides how it is rounded: for kernels."""
    raise NotImplementedError


@overload(value_at)
def _value_at(rows, row, column):  # type: ignore[no-untyped-def]
    if rows.dtype == u2:
        return lambda rows, row, column: _widened(rows[row, column])
    return lambda rows, row, column: rows[row, column]


@overload(put)
def _put(rows, row, column, value, salt):  # type: ignore[no-untyped-def]
    if rows.dtype == u2:

        def rounding(rows, row, column, value, salt):  # type: ignore[no-untyped-def]
            rows[row, column] = _rounded(f4(value), u4(salt), column)

        return rounding

    def storing(rows, row, column, value, salt):  # type: ignore[no-untyped-def]
        rows[row, column] = value

    return storing


@device_function
def salt_of(seed, row):  # type: ignore[no-untyped-def]
    """Return what a sample's changes to a row are rounded by: of its random state u8 and the row's number."""
    return u4(mix64(u8(seed) ^ (u8(row) << u8(20))) >> u8(32))


class StoredKernel:
    """A kernel for rows of either storage: compiled for float32, for bfloat16 when first called so."""

    def __init__(self, function: Callable[..., Any], place: int, signature: Any) -> None:
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.py_func = function
        self._place, self._signature = place, signature
        self._float32 = kernel(signature)(function)
        self._bfloat16: Callable[..., Any] | None = None

    def __call__(self, *args: Any) -> Any:
        """Run the kernel that is compiled for the rows' dtype; TypeError for other types."""
        if getattr(args[self._place], "dtype", None) == np.uint16:
            return (self._bfloat16 or self.prepare())(*args)
        return self._float32(*args)

    @property
    def signatures(self) -> list[Any]:
        """Signatures compiled so far, as numba lists them."""
        halves = self._bfloat16.signatures if self._bfloat16 is not None else []  # type: ignore[attr-defined]
        return [*self._float32.signatures, *halves]  # type: ignore[attr-defined]

    def prepare(self) -> Callable[..., Any]:
        """Compile for bfloat16, or load that from the cache; return it."""
        if self._bfloat16 is None:
            args = list(self._signature.args)
            args[self._place] = args[self._place].copy(dtype=u2)
            self._bfloat16 = kernel(self._signature.return_type(*args))(self.py_func)
        return self._bfloat16


def stored_kernel(place: int, signature: Any) -> Callable[[Callable[..., Any]], StoredKernel]:
    """Compile a function as `kernel` does, for rows stored either way at argument number ``place``."""
    return lambda function: StoredKernel(function, place, signature)
