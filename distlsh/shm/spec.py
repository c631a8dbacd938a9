"""What a named array looks like, before it exists."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from distlsh.constants import CACHE_LINE_BYTES


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """Name, shape and dtype of one shared array.

    ``persistent`` arrays are saved in checkpoints; ``lower`` names the setting that
    makes the array smaller.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    persistent: bool = False
    lower: str = ""

    @property
    def n_bytes(self) -> int:
        """Size of the array in bytes, without padding."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def padded_bytes(self) -> int:
        """Size in bytes, rounded up so that the next array starts a cache line."""
        return -(-self.n_bytes // CACHE_LINE_BYTES) * CACHE_LINE_BYTES
