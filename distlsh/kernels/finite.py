"""Sums of squares, by which numbers that are not finite are noticed."""

from __future__ import annotations

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import F4_1R, f4

MOST = 1e30
"""Squared length from which on a gradient counts as infinite: sums of such squares soon would be."""


@kernel(f4(F4_1R))
def sum_of_squares(x):  # type: ignore[no-untyped-def]
    """Return the sum of the squares of ``x`` f4[n]: NaN or infinite where it is no float32.

    Concurrency: none needed.  Allocates: nothing.  Cost: O(n).
    """
    total = f4(0.0)
    for i in range(x.shape[0]):
        total += x[i] * x[i]
    return total
