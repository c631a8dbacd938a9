"""Counter-based random numbers: a sample's randomness depends on its number alone.

So nothing of a generator has to be saved, and neither the number of workers nor the
slicing of the work changes what a sample draws.
"""

from __future__ import annotations

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import U8_1, u8, void

_GOLDEN = 0x9E3779B97F4A7C15


@device_function
def mix64(x):  # type: ignore[no-untyped-def]
    """Return the splitmix64 finaliser of ``x`` (Steele, Lea & Flood 2014)."""
    z = u8(x) + u8(_GOLDEN)
    z = (z ^ (z >> u8(30))) * u8(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> u8(27))) * u8(0x94D049BB133111EB)
    return z ^ (z >> u8(31))


@device_function
def next_u8(state):  # type: ignore[no-untyped-def]
    """Advance ``state`` (u8[1] or longer, place 0) and return 64 random bits."""
    state[0] += u8(_GOLDEN)
    z = state[0]
    z = (z ^ (z >> u8(30))) * u8(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> u8(27))) * u8(0x94D049BB133111EB)
    return z ^ (z >> u8(31))


@device_function
def uniform(state):  # type: ignore[no-untyped-def]
    """Return a float in [0, 1) with 24 random bits."""
    return (next_u8(state) >> u8(40)) * 5.9604644775390625e-08


@device_function
def below(state, n):  # type: ignore[no-untyped-def]
    """Return an int64 in [0, n), n < 2**32."""
    return ((next_u8(state) >> u8(32)) * u8(n)) >> u8(32)


@kernel(void(u8, u8, U8_1))
def sample_seeds(seed, first_sample, seeds):  # type: ignore[no-untyped-def]
    """Fill ``seeds`` with the random states of consecutive samples.

    seed          the run's seed
    first_sample  number of the first sample since the start of training
    seeds         u8[m], written
    """
    base = mix64(seed)
    for i in range(seeds.shape[0]):
        seeds[i] = mix64(base ^ mix64(first_sample + u8(i)))
