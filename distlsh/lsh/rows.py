"""Vectors to hash: a dense array, or the non-zeros of each row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distlsh.errors import ShapeError

Floats = NDArray[np.float32]

_MAX_DIMS = np.iinfo(np.int32).max


def check_csr(matrix: Any) -> None:
    """Raise ShapeError unless the indices of a SciPy CSR array lie in its rows and columns.

    SciPy only looks if asked; its own methods, such as ``sum_duplicates``, trust them.
    """
    try:
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise _unfit(error) from None


def as_csr(X: Any, *, copy: bool = False) -> Any:
    """Return a SciPy CSR array of ``X``, sparse or dense in two dimensions; ShapeError as `check_csr`."""
    from scipy.sparse import csr_array

    try:
        found = csr_array(X, copy=copy)
    except ValueError as error:
        raise _unfit(error) from None
    check_csr(found)
    return found


def _unfit(error: ValueError) -> ShapeError:
    return ShapeError(f"a sparse array whose indices do not fit it: {error}; make the array anew")


class SparseRows(NamedTuple):
    """Rows by their non-zeros.

    indptr   i8[m + 1], from any place of the other two on
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
        """Return the rows of a SciPy sparse array of numbers, in order and without duplicates.

        ``X`` itself stays as it is; its arrays are shared where they have the right types.
        Raises ShapeError for anything else, for indices out of range, and for more than 2**31 - 1 columns.
        """
        if not hasattr(X, "tocsr") or len(getattr(X, "shape", ())) != 2:
            raise ShapeError(f"{type(X).__name__} is no SciPy sparse array of rows; give a csr_array")
        if X.shape[1] > _MAX_DIMS:
            raise ShapeError(f"rows of {X.shape[1]} columns; at most {_MAX_DIMS} can be numbered")
        found = X.tocsr()
        check_csr(found)
        if not found.has_canonical_format:
            found = found.copy() if found is X else found
            found.sum_duplicates()
        rows = cls(
            np.ascontiguousarray(found.indptr, np.int64),
            np.ascontiguousarray(found.indices, np.int32),
            np.ascontiguousarray(found.data, np.float32),
            int(found.shape[1]),
        )
        return rows

    @property
    def n_rows(self) -> int:
        """Rows there are; ``len()`` is of the tuple."""
        return len(self.indptr) - 1

    def block(self, first: int, last: int) -> SparseRows:
        """Return rows [first, last), as views."""
        return self._replace(indptr=self.indptr[first : last + 1])

    def dense(self) -> Floats:
        """Return f4[m, n_dims]."""
        out = np.zeros((self.n_rows, self.n_dims), np.float32)
        places = slice(self.indptr[0], self.indptr[-1])
        row = np.repeat(np.arange(self.n_rows), np.diff(self.indptr))
        out[row, self.indices[places]] = self.values[places]
        return out


Rows = Floats | SparseRows


def n_rows(rows: Rows) -> int:
    """Return how many rows there are."""
    return rows.n_rows if isinstance(rows, SparseRows) else len(rows)


def block(rows: Rows, first: int, last: int) -> Rows:
    """Return rows [first, last), as views."""
    return rows.block(first, last) if isinstance(rows, SparseRows) else rows[first:last]
