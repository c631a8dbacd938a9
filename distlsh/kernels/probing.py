"""Choose the buckets beside a query's own that most likely hold its neighbours.

Source: Lv et al. 2007, "Multi-probe LSH", section 4.4: a bucket's score is the sum,
over the hashes of its code, of the squared distance by which a hash would have had to
differ; the best scores come first.
"""

from __future__ import annotations

import numpy as np

from distlsh.constants import EMPTY
from distlsh.kernels._jit import device_function

NO_COST = np.float32(np.inf)
"""Marks an alternative that does not exist."""


@device_function
def _insert(total, code, totals, codes, n, limit):  # type: ignore[no-untyped-def]
    """Put ``code`` into the ``n`` kept ones by ascending total, equals behind; return the new n."""
    if n == limit:
        if total >= totals[n - 1]:
            return n
        n -= 1
    at = n
    while at > 0 and totals[at - 1] > total:
        totals[at] = totals[at - 1]
        codes[at] = codes[at - 1]
        at -= 1
    totals[at] = total
    codes[at] = code
    return n + 1


@device_function
def best_codes(costs, digits, base, totals, codes, out):  # type: ignore[no-untyped-def]
    """Write the codes of least total cost, one choice a hash, to ``out``; EMPTY where there are no more.

    costs   f4[n_hashes, n_choices], ascending a hash, the first 0, then NO_COST where absent
    digits  i4[n_hashes, n_choices], each below ``base``
    totals  f4[2, n], codes i4[2, n]: scratch
    out     i4[n]: ``out[0]`` takes the first digit of every hash

    A pair (i-th best of the hashes so far, j-th choice of the next) can only be among
    the n best if (i + 1) * (j + 1) <= n, so a hash costs about n * log(n) tries.
    """
    limit = out.shape[0]
    n_choices = costs.shape[1]
    old, new = 0, 1
    totals[old, 0] = 0.0
    codes[old, 0] = 0
    n = 1
    for k in range(costs.shape[0]):
        kept = 0
        for i in range(n):
            for j in range(min(n_choices, limit // (i + 1))):
                cost = costs[k, j]
                if cost == NO_COST:
                    break
                code = codes[old, i] * base + digits[k, j]
                kept = _insert(totals[old, i] + cost, code, totals[new], codes[new], kept, limit)
        n = kept
        old, new = new, old
    for i in range(limit):
        out[i] = codes[old, i] if i < n else EMPTY


@device_function
def best_flips(margins, totals, codes, out):  # type: ignore[no-untyped-def]
    """Write a binary code and those that flip the bits of least squared margin to ``out``.

    margins  f4[n_bits], signed distances to the hyperplanes; bit k, from the highest, is ``margins[k] > 0``
    totals   f4[3, n], codes i4[3, n]: scratch
    out      i4[n], n <= 2**n_bits: ``out[0]`` is the code itself

    The bit of (j+1)-th least margin first occurs as the (j+1)-th best flip, so only
    n - 1 bits matter.
    """
    limit = out.shape[0]
    n_bits = margins.shape[0]
    code = 0
    n_flips = 0
    for k in range(n_bits):
        code = code * 2 + (1 if margins[k] > 0.0 else 0)
        mask = 1 << (n_bits - 1 - k)
        if limit > 1:
            n_flips = _insert(margins[k] * margins[k], mask, totals[2], codes[2], n_flips, limit - 1)
    totals[0, 0] = 0.0
    codes[0, 0] = 0
    n = 1
    for k in range(n_flips):
        old, new = k & 1, 1 - (k & 1)
        cost = totals[2, k]
        kept = 0
        for i in range(n):
            kept = _insert(totals[old, i], codes[old, i], totals[new], codes[new], kept, limit)
            if 2 * (i + 1) <= limit:
                mask = codes[old, i] ^ codes[2, k]
                kept = _insert(totals[old, i] + cost, mask, totals[new], codes[new], kept, limit)
        n = kept
    last = n_flips & 1
    for i in range(limit):
        out[i] = code ^ codes[last, i] if i < n else EMPTY
