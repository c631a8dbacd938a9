"""Pseudo-random rotations of a single vector, 16 of its coordinates at a time.

The levels of a transform are gone through in the order of `kernels.rotation`, so that every
coordinate is the same to the last bit: the first four within lines of 16 adjacent coordinates,
the others across lines.

Source: Andoni et al. 2015, "Practical and optimal LSH for angular distance", section 3.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types

from distlsh.kernels._ir import KEYS, LANES, exact_function, load_line, store_lines
from distlsh.kernels._jit import intrinsic, kernel
from distlsh.kernels._types import F4_2, F4_2R, void
from distlsh.kernels.lanes import butterfly_8, butterfly_16, butterfly_values
from distlsh.kernels.rotation import N_OWN, N_SHARED

_LINE_LEVELS = 4


def _within_line(builder, value):  # type: ignore[no-untyped-def]
    """Return the Hadamard transform of the 16 numbers of a vector."""
    for level in range(_LINE_LEVELS):
        half = 1 << level
        order = ir.Constant(KEYS, [lane ^ half for lane in range(LANES)])
        other = builder.shuffle_vector(value, value, order)
        upper = ir.Constant(ir.VectorType(ir.IntType(1), LANES), [bool(lane & half) for lane in range(LANES)])
        value = builder.select(upper, builder.fsub(other, value), builder.fadd(value, other))
    return value


def _make_first_pass(radix):  # type: ignore[no-untyped-def]
    @intrinsic
    def first_pass(typingctx, source, at, signs, sign_line, target, to):  # type: ignore[no-untyped-def]
        """Transform ``source[at:]``, times ``signs`` from line ``sign_line`` on, into ``target[to:]``."""
        del typingctx

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            from_, first, sign_array, first_sign, into, place = args
            from_type, _, sign_type, _, into_type, _ = signature.args
            values = []
            for i in range(radix):
                step = ir.Constant(first.type, i)
                value = load_line(context, builder, from_type, from_, builder.add(first, step))
                sign = load_line(context, builder, sign_type, sign_array, builder.add(first_sign, step))
                values.append(_within_line(builder, builder.fmul(value, sign)))
            store_lines(context, builder, into_type, into, place, butterfly_values(builder, values))
            return context.get_dummy_value()

        return types.void(source, types.int64, signs, types.int64, target, types.int64), codegen

    return first_pass


_first_4, _first_8, _first_16 = map(_make_first_pass, (4, 8, 16))


@exact_function
def _turn(source, at, signs, row, n_lines, target, to):  # type: ignore[no-untyped-def]
    """Write the Hadamard transform of ``signs[row]`` times lines ``at ..`` of ``source`` to lines ``to ..``.

    source, target  f4[n, 16], may be the same array and lines
    n_lines         width / 16, a power of two >= 4
    signs           f4[rounds, width] of +1 and -1

    The first pass takes the levels within lines and those of 4, 8 or 16 lines: as many as leave
    a number of levels that passes of radix 8 and 16 make up.
    """
    levels = _LINE_LEVELS
    while (16 << (levels - _LINE_LEVELS)) < 16 * n_lines:
        levels += 1
    first = levels if levels <= 8 else (7 if levels == 11 else 6)
    stride = 1 << (first - _LINE_LEVELS)
    for i in range(0, n_lines, stride):
        if stride == 4:
            _first_4(source, at + i, signs, row * n_lines + i, target, to + i)
        elif stride == 8:
            _first_8(source, at + i, signs, row * n_lines + i, target, to + i)
        else:
            _first_16(source, at + i, signs, row * n_lines + i, target, to + i)
    n_passes = (levels - first + 3) // 4
    n_long = levels - first - 3 * n_passes
    for i in range(n_passes):
        radix = 16 if i < n_long else 8
        for base in range(to, to + n_lines, stride * radix):
            for line in range(base, base + stride):
                if radix == 8:
                    butterfly_8(target, line, stride)
                else:
                    butterfly_16(target, line, stride)
        stride *= radix


@exact_function
def rotate_one(vector, signs, spread, turned):  # type: ignore[no-untyped-def]
    """Write all rotations of a vector, one after the other, to ``turned``.

    vector  f4[width / 16, 16], 16 adjacent coordinates a line
    signs   f4[N_SHARED + N_OWN * n_rotations, width]
    spread  f4[width / 16, 16], scratch
    turned  f4[n_rotations * width / 16, 16], written

    Allocates: nothing.  Cost: width * log2(width) / 16 additions of 16 lanes a rotation.
    """
    n_lines = vector.shape[0]
    _turn(vector, 0, signs, 0, n_lines, spread, 0)
    for i in range(1, N_SHARED):
        _turn(spread, 0, signs, i, n_lines, spread, 0)
    for rotation in range(turned.shape[0] // n_lines):
        row, to = N_SHARED + rotation * N_OWN, rotation * n_lines
        _turn(spread, 0, signs, row, n_lines, turned, to)
        for i in range(1, N_OWN):
            _turn(turned, to, signs, row + i, n_lines, turned, to)


@kernel(void(F4_2, F4_2R, F4_2, F4_2, F4_2), fastmath=False)
def one_rotated(vector, signs, spread, turned, coordinates):  # type: ignore[no-untyped-def]
    """Write the leading coordinates of all rotations of a vector as the first lane of lines.

    vector, signs, spread, turned  as for `rotate_one`
    coordinates  f4[n, 16], its first column written: what `rotation.rotated_coordinates` writes

    Concurrency: all but signs is one thread's own.  Allocates: nothing.
    Cost: O(rotations * width * log(width)).
    Unchecked: shapes.  Source: Andoni et al. 2015, section 3.
    """
    rotate_one(vector, signs, spread, turned)
    for i in range(coordinates.shape[0]):
        coordinates[i, 0] = turned[i // LANES, i % LANES]
