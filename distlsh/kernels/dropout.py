"""Inverted dropout whose masks are a function of the sample alone."""

from __future__ import annotations

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import F4_2, U8_1R, f4, void
from distlsh.kernels.random import uniform_at


@kernel(void(U8_1R, f4, F4_2, F4_2))
def dropout_forward(seeds, keep, x, mask):  # type: ignore[no-untyped-def]
    """Multiply ``x`` by a random mask of 0 and ``1 / keep``.

    seeds  u8[m]
    keep   probability that a value is kept, in (0, 1]
    x      f4[m, d], changed in place
    mask   f4[m, d], overwritten

    Concurrency: none needed.  Allocates: nothing.  Cost: O(m * d).
    Source: Srivastava et al. 2014, section 10, scaled when training.
    """
    scale = f4(1.0) / keep
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            kept = scale if uniform_at(seeds[i], j) < keep else f4(0.0)
            mask[i, j] = kept
            x[i, j] *= kept
