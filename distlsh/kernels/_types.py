"""Array types for kernel signatures; ``R`` is read-only, the number the dimensions."""

from __future__ import annotations

from numba.core import types
from numba.core.types import Array

f4, f8, i1, i2, i4, i8, u1, u2, u4, u8, void, b1 = (
    types.float32,
    types.float64,
    types.int8,
    types.int16,
    types.int32,
    types.int64,
    types.uint8,
    types.uint16,
    types.uint32,
    types.uint64,
    types.void,
    types.boolean,
)


def _array(dtype: types.Type, ndim: int, readonly: bool = False) -> Array:
    return Array(dtype, ndim, "C", readonly=readonly)


F4_1, F4_2, F4_3 = _array(f4, 1), _array(f4, 2), _array(f4, 3)
F4_1R, F4_2R, F4_3R = _array(f4, 1, True), _array(f4, 2, True), _array(f4, 3, True)
F8_1, F8_2 = _array(f8, 1), _array(f8, 2)
F8_1R, F8_2R = _array(f8, 1, True), _array(f8, 2, True)
I1_2, I1_2R, I2_2, I2_2R = _array(i1, 2), _array(i1, 2, True), _array(i2, 2), _array(i2, 2, True)
I4_1, I4_2, I4_3, I4_4 = _array(i4, 1), _array(i4, 2), _array(i4, 3), _array(i4, 4)
I4_1R, I4_2R, I4_3R, I4_4R = (_array(i4, ndim, True) for ndim in (1, 2, 3, 4))
I8_1, I8_2 = _array(i8, 1), _array(i8, 2)
I8_1R, I8_2R = _array(i8, 1, True), _array(i8, 2, True)
U1_1, U1_1R = _array(u1, 1), _array(u1, 1, True)
U1_2, U1_2R = _array(u1, 2), _array(u1, 2, True)
U2_1, U2_1R = _array(u2, 1), _array(u2, 1, True)
U4_1, U4_2 = _array(u4, 1), _array(u4, 2)
U8_1, U8_1R, U8_2, U8_2R = _array(u8, 1), _array(u8, 1, True), _array(u8, 2), _array(u8, 2, True)
