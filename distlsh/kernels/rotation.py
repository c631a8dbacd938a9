"""Pseudo-random rotations of 16 vectors at a time: random signs, then a fast Hadamard transform.

Source: Andoni et al. 2015, "Practical and optimal LSH for angular distance", section 3;
Ailon & Chazelle 2006 for why random signs before the transform make it random enough.
"""

from __future__ import annotations

from distlsh.kernels._ir import exact_function
from distlsh.kernels._jit import kernel
from distlsh.kernels._types import F4_2, F4_2R, F4_3, u8, void
from distlsh.kernels.lanes import butterfly_8, butterfly_16, signed_butterfly_8, signed_butterfly_16
from distlsh.kernels.random import mix64

MIN_WIDTH = 64
"""Narrowest rotation: below it, signs and Hadamard make too few different rotations."""

N_SHARED = 2
"""Rounds that all rotations of a vector share: they spread a sparse vector over all coordinates."""

N_OWN = 1
"""Rounds of each rotation alone.

Two shared rounds and one own make collisions that, from a width of 512 on, cannot be told from
those of Gaussian projections, for dense vectors and for such with one or a few non-zeros.  In
narrower rotations, two vectors of two non-zeros collide seldomer than they should: up to 9% at
widths of 128 and less, about 2% at 256.  Three rounds a rotation do no better and cost more; one
shared and one own are worse on sparse vectors.
"""


@exact_function
def _passes(width):  # type: ignore[no-untyped-def]
    """Return the fewest passes that make a transform of ``width``: those of radix 16, and in all.

    The others are of radix 8 and come last, where 16 lines far apart would share a cache set.
    """
    levels = 0
    while (1 << levels) < width:
        levels += 1
    n_passes = (levels + 3) // 4
    return levels - 3 * n_passes, n_passes


@exact_function
def rotate_round(source, signs, row, target):  # type: ignore[no-untyped-def]
    """Set ``target`` to the Hadamard transform of ``signs[row] * source``, unnormalised.

    source, target  f4[width, 16], may be the same array; width a power of two >= 64
    signs           f4[rounds, width] of +1 and -1

    Allocates: nothing.  Cost: width * log2(width) additions of 16 lanes.  A pass takes
    three or four levels of the transform, and the first two go block by block through
    the first-level cache, so 1024 coordinates come from beyond it twice, not ten times.
    """
    width = source.shape[0]
    n_long, n_passes = _passes(width)
    first_radix = 16 if n_long > 0 else 8
    second_radix = 16 if n_long > 1 else 8
    stride = first_radix * second_radix
    for base in range(0, width, stride):
        for at in range(base, base + stride, first_radix):
            if first_radix == 8:
                signed_butterfly_8(source, signs, target, row, at)
            else:
                signed_butterfly_16(source, signs, target, row, at)
        _pass(target, base, first_radix, second_radix)
    for i in range(2, n_passes):
        radix = 16 if i < n_long else 8
        for base in range(0, width, stride * radix):
            _pass(target, base, stride, radix)
        stride *= radix


@exact_function
def _pass(lines, base, stride, radix):  # type: ignore[no-untyped-def]
    """Transform each of ``stride`` interleaved sets of ``radix`` lines from ``base`` on."""
    for at in range(base, base + stride):
        if radix == 8:
            butterfly_8(lines, at, stride)
        else:
            butterfly_16(lines, at, stride)


@exact_function
def spread(lines, signs):  # type: ignore[no-untyped-def]
    """Run the shared rounds on ``lines`` f4[width, 16], in place."""
    for i in range(N_SHARED):
        rotate_round(lines, signs, i, lines)


@exact_function
def rotate(lines, signs, rotation, turned):  # type: ignore[no-untyped-def]
    """Set ``turned`` f4[width, 16] to rotation number ``rotation`` of the prepared ``lines``."""
    row = N_SHARED + rotation * N_OWN
    rotate_round(lines, signs, row, turned)
    for i in range(1, N_OWN):
        rotate_round(turned, signs, row + i, turned)


@kernel(void(F4_3, F4_2R, F4_2, F4_3), fastmath=False)
def rotated_coordinates(lines, signs, turned, coordinates):  # type: ignore[no-untyped-def]
    """Write the leading coordinates of all rotations of each block.

    lines        f4[n_blocks, width, 16], from `kernels.blocks`; overwritten
    signs        f4[N_SHARED + N_OWN * n_rotations, width], n_rotations * width >= n
    turned       f4[width, 16], scratch
    coordinates  f4[n_blocks, n, 16], written; lengths grow by sqrt(width) a round

    Concurrency: all but signs is one thread's own.  Allocates: nothing.
    Cost: O(rotations * width * log(width)) a vector.
    Unchecked: shapes.  Source: Andoni et al. 2015, section 3.
    """
    width = lines.shape[1]
    n = coordinates.shape[1]
    for block in range(coordinates.shape[0]):
        spread(lines[block], signs)
        for first in range(0, n, width):
            rotate(lines[block], signs, first // width, turned)
            for i in range(min(width, n - first)):
                coordinates[block, first + i] = turned[i]


@kernel(void(u8, F4_2), fastmath=False)
def fill_signs(seed, signs):  # type: ignore[no-untyped-def]
    """Fill ``signs`` f4[n, width] with +1 and -1, each by one bit of its own hash of ``seed``.

    Concurrency: any.  Allocates: nothing.  Cost: O(n * width).  Source: kernels.random.
    """
    base = mix64(seed)
    for i in range(signs.shape[0]):
        for j in range(signs.shape[1]):
            bit = mix64(base ^ u8(i * signs.shape[1] + j)) >> u8(63)
            signs[i, j] = 1.0 if bit else -1.0
