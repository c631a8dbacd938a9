"""Vectors to hash: a dense array, or the non-zeros of each row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class SparseRows(NamedTuple):
    """Rows by their non-zeros.

    indptr   i8[m + 1]
    indices  i4[nnz], ascending and distinct in a row
    values   f4[nnz]
    n_dims   width of a row
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: Floats
    n_dims: int

    @classmethod
    def of(cls, X: Any) -> SparseRows:
        """Return the rows of a SciPy sparse array."""
        found = X.tocsr()
        found.sum_duplicates()
        return cls(
            found.indptr.astype(np.int64),
            found.indices.astype(np.int32),
            found.data.astype(np.float32),
            int(found.shape[1]),
        )


Rows = Floats | SparseRows
