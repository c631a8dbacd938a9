"""What each metric stores, hashes and reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from distlsh.lsh.rows import Floats, Rows, SparseRows

Metric = Literal["cosine", "dot", "euclidean", "jaccard"]
METRICS: tuple[str, ...] = get_args(Metric)

DESCENDING = {"cosine": True, "dot": True, "euclidean": False, "jaccard": True}
"""Whether the best score is the largest."""


_LARGEST = 1e38


def normalised(rows: Rows) -> Rows:
    """Return rows scaled to length 1; rows of zeros stay zeros."""
    if isinstance(rows, SparseRows):
        here = slice(rows.indptr[0], rows.indptr[-1])
        lengths = np.diff(rows.indptr)
        row = np.repeat(np.arange(rows.n_rows), lengths)
        squares = np.bincount(row, np.square(rows.values[here], dtype=np.float64), rows.n_rows)
        values = _scaled(rows.values[here], np.repeat(_inverse_root(squares.astype(np.float64)), lengths))
        return SparseRows(rows.indptr - rows.indptr[0], rows.indices[here], values, rows.n_dims)
    return _scaled(rows, _inverse_root(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))[:, None])


def _scaled(values: Floats, factors: NDArray[np.float64]) -> Floats:
    """Return the product; factors of the shortest vectors are more than float32 holds."""
    if factors.size and factors.max() > _LARGEST:
        return (values.astype(np.float64) * factors).astype(np.float32)
    return values * factors.astype(np.float32)


def _inverse_root(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    root = np.sqrt(squares)
    return np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)


def distances(metric: str, scores: Floats) -> Floats:
    """Return scores as distances, smallest best: 1 - similarity, and the negative of inner products."""
    turn: dict[str, Callable[[Floats], Floats]] = {
        "cosine": lambda s: np.float32(1.0) - s,
        "jaccard": lambda s: np.float32(1.0) - s,
        "dot": np.negative,
        "euclidean": lambda s: s,
    }
    return turn[metric](scores)
