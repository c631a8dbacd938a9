"""In which order an epoch's instances are trained."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_order(order: NDArray[Any], seed: int, epoch: int, pretraining: bool) -> None:
    """Fill ``order`` (ids of all instances) with what seed and epoch say; pretraining has its own."""
    key = (seed, epoch, *([1] if pretraining else []))
    order[:] = np.random.default_rng(key).permutation(len(order))
