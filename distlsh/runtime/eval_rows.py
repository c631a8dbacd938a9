"""Which test rows an evaluation looks at: the same in every process."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def evaluation_rows(n_test: int, n_rows: int, seed: int) -> NDArray[np.int64]:
    """Return a seeded random subset of ``n_rows`` test rows, ascending, i8; all if 0 or too many."""
    if n_rows == 0 or n_rows >= n_test:
        return np.arange(n_test, dtype=np.int64)
    chosen = np.random.default_rng(seed).choice(n_test, n_rows, replace=False)
    return np.sort(chosen).astype(np.int64)


def count_rows(n_test: int, n_rows: int) -> int:
    """Return how many rows `evaluation_rows` gives."""
    return n_test if n_rows == 0 else min(n_rows, n_test)
