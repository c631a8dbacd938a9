"""Inverted dropout whose masks are a function of the sample alone."""

from __future__ import annotations

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import F4_2, U8_1, U8_1R, f4, u8, void
from distlsh.kernels.random import mix64

_GOLDEN = 0x9E3779B97F4A7C15


@device_function
def uniform_at(seed, place):  # type: ignore[no-untyped-def]
    """Return the ``place``-th float in [0, 1) of the splitmix stream that starts at ``seed``.

    Random access, so that a backward pass draws a forward pass's mask again.
    """
    return f4((mix64(seed + u8(place) * u8(_GOLDEN)) >> u8(40)) * 5.9604644775390625e-08)


@kernel(void(U8_1R, u8, U8_1))
def stream_seeds(seeds, stream, out):  # type: ignore[no-untyped-def]
    """Derive from every sample's state the state of one of its streams.

    seeds   u8[m]
    stream  number of the stream: what the numbers are for
    out     u8[m], overwritten

    Concurrency: none needed.  Allocates: nothing.  Cost: O(m).
    """
    salt = mix64(stream)
    for i in range(seeds.shape[0]):
        out[i] = mix64(seeds[i] ^ salt)


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
