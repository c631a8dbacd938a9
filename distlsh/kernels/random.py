"""Counter-based random numbers: a sample's randomness depends on its number alone.

So nothing of a generator has to be saved, and neither the number of workers nor the
slicing of the work changes what a sample draws.
"""

from __future__ import annotations

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import U8_1, U8_1R, f4, i8, u8, void

_GOLDEN = 0x9E3779B97F4A7C15
_UNIT = 2.0**-24


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
    bits = mix64(state[0])
    state[0] += u8(_GOLDEN)
    return bits


@device_function
def bits_at(seed, place):  # type: ignore[no-untyped-def]
    """Return what call number ``place``, from 0, of `next_u8` returns where the state begins as ``seed``.

    Random access, so that a backward pass draws a forward pass's mask again.
    """
    return mix64(seed + u8(place) * u8(_GOLDEN))


@device_function
def uniform(state):  # type: ignore[no-untyped-def]
    """Return a float in [0, 1) with 24 random bits."""
    return (next_u8(state) >> u8(40)) * _UNIT


@device_function
def uniform_at(seed, place):  # type: ignore[no-untyped-def]
    """Return the float32 in [0, 1) of `bits_at`."""
    return f4((bits_at(seed, place) >> u8(40)) * _UNIT)


@device_function
def scaled(bits, n):  # type: ignore[no-untyped-def]
    """Return 64 random bits as an int64 in [0, n), n < 2**32."""
    return i8(((bits >> u8(32)) * u8(n)) >> u8(32))


@device_function
def below(state, n):  # type: ignore[no-untyped-def]
    """Return a random int64 in [0, n), n < 2**32."""
    return scaled(next_u8(state), n)


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
