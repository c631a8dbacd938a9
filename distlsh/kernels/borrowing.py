"""Which bin an empty one reads instead: densification that always ends at a bin with values.

Each bin walks over all bins in an order of its own, that no vector has a part in, and reads
the first which is not empty.  So two vectors borrow the same exactly where the first bin that
either fills is filled by both.

The walk of a bin is ``start, start + stride, start + 2 * stride, ...`` modulo a prime, which passes
every bin once.  The step at which it passes a given bin is a product with the stride's inverse,
so where few bins are filled the first of them is found without walking.

Source: Shrivastava 2017, "Optimal densification for fast and accurate minwise hashing", section 4; the
orders are the linear permutations of Broder, Charikar, Frieze & Mitzenmacher 2000, "Min-wise
independent permutations", section 4.
"""

from __future__ import annotations

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import U4_2, i4, i8, u4, u8, void
from distlsh.kernels.random import bits_at, scaled


@device_function
def _inverse(number, prime):  # type: ignore[no-untyped-def]
    """Return the inverse of ``number``, in [1, prime), modulo ``prime`` < 2**32 (Fermat)."""
    result, power, rest = u8(1), u8(number), u8(prime - 2)
    while rest > u8(0):
        if rest & u8(1):
            result = result * power % u8(prime)
        power = power * power % u8(prime)
        rest >>= u8(1)
    return result


@kernel(void(u8, i8, U4_2))
def fill_walks(seed, prime, walks):  # type: ignore[no-untyped-def]
    """Draw the walk of each bin from ``seed``.

    prime  not below the number of bins, below 2**32
    walks  u4[3, n_bins], written: start, stride, and the stride's inverse modulo ``prime``

    Concurrency: any.  Allocates: nothing.  Cost: O(n_bins * log(prime)).
    """
    for bin_ in range(walks.shape[1]):
        stride = 1 + scaled(bits_at(seed, 2 * bin_), prime - 1)
        walks[0, bin_] = u4(scaled(bits_at(seed, 2 * bin_ + 1), prime))
        walks[1, bin_] = u4(stride)
        walks[2, bin_] = u4(_inverse(stride, prime))


@device_function
def _walked(bin_, walks, prime, donors):  # type: ignore[no-untyped-def]
    """Return the first filled bin on the walk of ``bin_``, step by step."""
    at, stride = i8(walks[0, bin_]), i8(walks[1, bin_])
    while at >= donors.shape[0] or donors[at] != at:
        at += stride
        if at >= prime:
            at -= prime
    return i4(at)


@device_function
def _looked_up(bin_, walks, prime, filled, n_filled):  # type: ignore[no-untyped-def]
    """Return the first filled bin on the walk of ``bin_``: that with the least step."""
    start, inverse = u8(walks[0, bin_]), u8(walks[2, bin_])
    first, best = u8(prime), i4(-1)
    for i in range(n_filled):
        step = (u8(filled[i]) + u8(prime) - start) * inverse % u8(prime)
        if step < first:
            first, best = step, filled[i]
    return best


@device_function
def borrow(walks, prime, filled, donors):  # type: ignore[no-untyped-def]
    """Set the places of ``donors`` that are empty bins' to the bins that these read.

    walks   u4[3, n_bins], from `fill_walks`, with its ``prime``
    filled  i4[n_bins], scratch
    donors  i4[n_bins]: a filled bin's own number, -1 for an empty one; where all are empty they read bin 0

    Cost: n_bins / filled bins steps for an empty bin, or a look-up for each filled one: about
    sqrt(n_bins) at most.
    """
    n_bins, n_filled = donors.shape[0], 0
    for bin_ in range(n_bins):
        filled[n_filled] = bin_
        n_filled += donors[bin_] >= 0
    few = 3 * n_filled * n_filled < n_bins
    for bin_ in range(n_bins if n_filled < n_bins else 0):
        if donors[bin_] >= 0:
            continue
        if n_filled == 0:
            donors[bin_] = 0
        elif few:
            donors[bin_] = _looked_up(bin_, walks, prime, filled, n_filled)
        else:
            donors[bin_] = _walked(bin_, walks, prime, donors)
