"""Hash the K values of a table to a few bits, all of which are used.

Source: Dietzfelbinger 1996, "Universal hashing and k-wise independent random variables via integer
arithmetic without primes", the multilinear form: the highest bits of a + sum(a_k * value_k) mod 2**64.
"""

from __future__ import annotations

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import U8_2, u4, u8, void
from distlsh.kernels.random import bits_at


@kernel(void(u8, U8_2))
def fill_multipliers(seed, multipliers):  # type: ignore[no-untyped-def]
    """Fill ``multipliers`` u8[n_tables, 1 + n_hashes] with random numbers made from ``seed``.

    Concurrency: any.  Allocates: nothing.  Cost: O(n_tables * n_hashes).
    """
    n_tables, width = multipliers.shape
    for table in range(n_tables):
        for k in range(width):
            multipliers[table, k] = bits_at(seed, table * width + k)


@device_function
def mix_part(multipliers, table, k, value):  # type: ignore[no-untyped-def]
    """Return what value ``k``, from 0, an integer of 32 bits, adds (mod 2**64) to its table's hash.

    The code is the sum of all K parts, shifted right by 64 - code_bits.
    """
    part = multipliers[table, 1 + k] * u8(u4(value))
    if k == 0:
        part += multipliers[table, 0]
    return part
