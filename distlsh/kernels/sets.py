"""What hashes of sets share: a random order of the ids, and codes of bucket range made of their minima.

A vector stands for the set of the dimensions where it is not 0.
"""

from __future__ import annotations

from distlsh.kernels._jit import device_function
from distlsh.kernels._types import i8, u4, u8
from distlsh.kernels.random import mix64

NOTHING = 0xFFFFFFFF
"""Minimum over no ids.  An id may hash to it too, once in 2**32."""


@device_function
def shuffled(id_, order):  # type: ignore[no-untyped-def]
    """Return where ``id_`` comes in a random order of all uint32: one to one (Appleby, MurmurHash3).

    order  random u8: ids next to each other must come apart differently in each order
    """
    z = u4((u4(id_) ^ u4(order)) * (u4(order >> u8(32)) | u4(1)))
    z = u4((z ^ (z >> u4(16))) * u4(0x85EBCA6B))
    z = u4((z ^ (z >> u4(13))) * u4(0xC2B2AE35))
    return z ^ (z >> u4(16))


@device_function
def reordered(z, flip, factor):  # type: ignore[no-untyped-def]
    """Return where a shuffled id comes in another order, one to one; compiles to vectors of uint32.

    flip, factor  of the order, random u4, the second odd
    """
    z = u4((z ^ flip) * factor)
    z = u4((z ^ (z >> u4(15))) * u4(0x2C1B3C6D))
    return z ^ (z >> u4(16))


@device_function
def mixed_code(values, first, n_hashes, code_bits, seed):  # type: ignore[no-untyped-def]
    """Return ``values[first : first + n_hashes]`` u4 mixed to an int64 in [0, 2**code_bits)."""
    state = u8(seed)
    for k in range(n_hashes):
        state = mix64(state ^ u8(values[first + k]))
    return i8(state >> u8(64 - code_bits))
