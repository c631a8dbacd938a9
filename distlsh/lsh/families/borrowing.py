"""Walks by which empty bins borrow, and their scratch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distlsh.kernels.borrowing import fill_walks
from distlsh.lsh.families.base import Ids
from distlsh.lsh.families.lines import u8


class Borrowing(NamedTuple):
    """What kernels that densify take: see `kernels.borrowing`.

    walks   u4[3, n_bins]
    prime   the modulus of the walks
    filled  i4[n_bins], scratch
    donors  i4[n_bins], scratch
    """

    walks: NDArray[np.uint32]
    prime: int
    filled: Ids
    donors: Ids

    @classmethod
    def of(cls, seed: int, n_bins: int) -> Borrowing:
        """Draw the walks of ``n_bins`` bins."""
        prime, walks = least_prime(n_bins), np.empty((3, n_bins), np.uint32)
        fill_walks(u8(~seed), prime, walks)
        return cls(walks, prime, np.empty(n_bins, np.int32), np.empty(n_bins, np.int32))


def least_prime(n: int) -> int:
    """Return the least prime that is not below ``n``."""
    number = max(2, n)
    while any(number % divisor == 0 for divisor in range(2, int(number**0.5) + 1)):
        number += 1
    return number
