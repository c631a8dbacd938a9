"""Directions in which vectors differ most: what is hashed, and what sketches hold.

Real vectors vary in few directions.  Distances of their leading principal components
are nearly those of the whole vectors, so hashing these costs less and separates as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from distlsh.errors import UsageError
from distlsh.lsh.rows import Floats, Rows, SparseRows

SAMPLE = 16_384
"""Rows that directions are learned from."""

_EXACT_DIMS = 1_536
"""Directions of wider vectors are found by random projection: their covariance would cost too much."""

_OVERSAMPLING = 16
_POWER_ITERATIONS = 2


@dataclass(frozen=True)
class Projection:
    """Principal components of a sample.

    offset   f4[n_components], the components of the sample's mean
    vectors  f4[n_dims, n_components], orthonormal columns, largest variance first
    energy   f8[n_components], the share of all variance in each and those before it
    """

    offset: Floats
    vectors: Floats
    energy: NDArray[np.float64]

    @classmethod
    def fit(cls, sample: Rows, n_components: int, seed: int) -> Projection:
        """Return the leading components of ``sample`` [m, n_dims]; at most n_dims.

        UsageError for vectors whose products no number holds.
        """
        rows = _Centred(sample)
        try:
            values, vectors = rows.components(min(n_components, rows.n_dims), seed)
        except np.linalg.LinAlgError:  # what is not finite has no directions
            raise UsageError(
                "the vectors are so long that their products overflow; scale them down"
            ) from None
        energy = np.cumsum(values) / rows.variance if rows.variance > 0 else np.ones(len(values))
        return cls(rows.mean @ vectors, vectors, np.minimum(energy, 1.0))

    @property
    def n_bytes(self) -> int:
        """Bytes of the arrays."""
        return self.offset.nbytes + self.vectors.nbytes + self.energy.nbytes

    def __call__(self, rows: Rows) -> Floats:
        """Return the components f4[m, n_components] of rows [m, n_dims]."""
        found = np.asarray(_matrix(rows) @ self.vectors, np.float32)
        found -= self.offset
        return found


def _matrix(rows: Rows) -> Any:
    if not isinstance(rows, SparseRows):
        return rows
    here = slice(rows.indptr[0], rows.indptr[-1])
    parts = rows.values[here], rows.indices[here], rows.indptr - rows.indptr[0]
    return csr_array(parts, shape=(rows.n_rows, rows.n_dims))


def _products(columns: Floats) -> NDArray[np.float64]:
    """Return the inner products f8[d, d] of the columns of f4[m, d]; of long ones in twice the precision."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = (columns.T @ columns).astype(np.float64)
    if not np.isfinite(found).all():
        wide = columns.astype(np.float64)
        found = wide.T @ wide
    return found


class _Centred:
    """Rows less their mean, dense or sparse; sparse ones are never made dense."""

    def __init__(self, sample: Rows) -> None:
        self._rows = _matrix(sample)
        self.mean: Floats = np.asarray(self._rows.mean(axis=0, dtype=np.float64), np.float32).ravel()
        values = self._rows.data if isinstance(self._rows, csr_array) else self._rows
        total = float(np.sum(np.square(values, dtype=np.float64)))
        length = float(self.mean.astype(np.float64) @ self.mean)
        self.variance = max(0.0, total - self._rows.shape[0] * length)

    @property
    def n_dims(self) -> int:
        return len(self.mean)

    def components(self, n: int, seed: int) -> tuple[NDArray[np.float64], Floats]:
        """Return the ``n`` largest squared singular values and their right vectors, as columns."""
        if self.n_dims <= _EXACT_DIMS and not isinstance(self._rows, csr_array):
            centred = self._rows - self.mean
            values, vectors = np.linalg.eigh(_products(centred))
            chosen = vectors[:, ::-1][:, :n]
            return np.maximum(values[::-1][:n], 0.0), np.ascontiguousarray(chosen, np.float32)
        return self._approximate(n, np.random.default_rng(seed))

    def _approximate(self, n: int, random: np.random.Generator) -> tuple[NDArray[np.float64], Floats]:
        """Halko et al. 2011, algorithm 4.4; random directions where the sample has too few of its own."""
        width = min(n + _OVERSAMPLING, self.n_dims)
        right = random.standard_normal((self.n_dims, width)).astype(np.float32)
        for _ in range(_POWER_ITERATIONS):
            right = np.linalg.qr(self._transposed(np.linalg.qr(self._times(right))[0]))[0]
        if right.shape[1] < n:
            more = random.standard_normal((self.n_dims, n - right.shape[1])).astype(np.float32)
            right = np.linalg.qr(np.concatenate([right, more], axis=1))[0]
        values, turn = np.linalg.eigh(_products(self._times(right)))
        vectors = right @ turn[:, ::-1][:, :n]
        return np.maximum(values[::-1][:n].astype(np.float64), 0.0), np.ascontiguousarray(vectors, np.float32)

    def _times(self, matrix: Floats) -> Floats:
        found: Floats = self._rows @ matrix
        return found - self.mean @ matrix

    def _transposed(self, matrix: Floats) -> Floats:
        found: Floats = self._rows.T @ matrix
        return found - np.outer(self.mean, matrix.sum(axis=0))
