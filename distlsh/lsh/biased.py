"""A bias as one more coordinate: [row, bias / scale] . [query, 1] orders rows as their logits do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distlsh.lsh.rows import Floats


class BiasedRows:
    """Weights f4[n, d] with their biases behind: what is asked for is copied to f4[., d + 1].

    bias   f4[n, 1]
    scale  of row . query in a logit, to which the bias is added
    """

    def __init__(self, weights: Floats, bias: Floats, scale: float = 1.0) -> None:
        self._weights, self._bias = weights, bias
        self._scale = np.float32(scale)
        self.shape = (len(weights), weights.shape[1] + 1)

    def __len__(self) -> int:
        return len(self._weights)

    def __getitem__(self, which: slice | NDArray[np.int32]) -> Floats:
        return np.concatenate([self._weights[which], self._bias[which] / self._scale], axis=1)


def as_queries(vectors: Floats, n_dims: int) -> Floats:
    """Return ``vectors`` f4[m, d] itself, or with a 1 behind where rows hold a bias: ``n_dims`` = d + 1."""
    if vectors.shape[1] + 1 != n_dims:
        return vectors
    return np.concatenate([vectors, np.ones((len(vectors), 1), np.float32)], axis=1)
