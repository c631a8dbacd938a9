"""Feature arrays of a caller, checked and cut into CSR blocks that kernels take."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.errors import ShapeError
from distlsh.lsh.rows import as_csr

Block = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]


class FeatureRows:
    """Rows of features, SciPy sparse or dense, that stay as they are until a block is asked for."""

    def __init__(self, X: Any, n_features: int, *, unit: bool = False) -> None:
        """Raise ShapeError unless ``X`` is numeric [m, n_features].

        unit  scale each row to Euclidean norm 1; rows of norm 0 stay
        """
        from scipy.sparse import issparse

        is_sparse = issparse(X)
        self._X: Any = as_csr(X) if is_sparse else np.asarray(X)
        self._unit = unit
        if self._X.ndim != 2:
            raise ShapeError(
                f"X has {self._X.ndim} dimensions; give rows x features (one row: X.reshape(1, -1))"
            )
        if self._X.shape[1] != n_features:
            raise ShapeError(f"X has {self._X.shape[1]} features; the model was trained with {n_features}")
        if self._X.dtype.kind not in "fiub":
            raise ShapeError(f"X has dtype {self._X.dtype}; predictions need real numbers")

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self._X.shape[0])

    def block(self, first: int, last: int) -> Block:
        """Return rows ``first .. last`` as i8[m + 1], i4[nnz] and f4[nnz].

        ShapeError, naming row and feature, if a number is not finite as float32.
        """
        from scipy.sparse import csr_array

        rows = csr_array(self._X[first:last])
        if not rows.has_canonical_format:
            rows = rows.copy()
            rows.sum_duplicates()
        with np.errstate(over="ignore"):
            values = rows.data.astype(np.float32)
        indptr = rows.indptr.astype(np.int64)
        _check_finite(values, indptr, rows.indices, first)
        if self._unit:
            _scale_rows(values, indptr)
        return indptr, rows.indices.astype(np.int32), values


def _check_finite(
    values: NDArray[np.float32], indptr: NDArray[np.int64], features: NDArray[Any], first: int
) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        place = int(np.argmin(finite))
        row = first + int(np.searchsorted(indptr, place, side="right")) - 1
        raise ShapeError(
            f"X holds NaN, infinity or a number too large for float32 in row {row}, "
            f"feature {features[place]}; remove it"
        )


def _scale_rows(values: NDArray[np.float32], indptr: NDArray[np.int64]) -> None:
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    norms = np.sqrt(np.bincount(rows, values.astype(np.float64) ** 2, len(indptr) - 1))
    norms[norms == 0] = 1
    values /= norms[rows]
