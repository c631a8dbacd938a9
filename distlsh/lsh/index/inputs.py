"""Check and convert what users give: vectors, queries, ids and counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.errors import ShapeError, UsageError
from distlsh.lsh.rows import Floats, Rows, SparseRows, n_rows


def is_sparse(X: Any) -> bool:
    """Tell whether ``X`` is a SciPy sparse array or matrix."""
    return hasattr(X, "tocsr")


def as_rows(X: Any, what: str, n_dims: int | None = None, *, sets: bool = False) -> Rows:
    """Return vectors as f4[m, n_dims] in C order or as `SparseRows`, checked.

    X       array-like of numbers [m, n_dims], or SciPy sparse of that shape
    what    names the vectors in messages
    n_dims  the width they must have
    sets    return sets: sparse rows whose values are all 1, at the non-zeros of ``X``

    Raises ShapeError for another number of dimensions, another width, no rows or no
    columns; UsageError for a NaN, an infinity, or something that is not numbers.
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes an infinity, and is told below
        rows = SparseRows.of(X) if is_sparse(X) else _dense(X, what)
    width = rows.n_dims if isinstance(rows, SparseRows) else rows.shape[1]
    if n_dims is not None and width != n_dims:
        raise ShapeError(f"{what} have {width} dimensions; the index was fitted with {n_dims}")
    if not n_rows(rows) or not width:
        raise ShapeError(f"{what} have shape ({n_rows(rows)}, {width}); give at least one row and one column")
    _check_finite(rows, what)
    return _members(rows) if sets else rows


def as_dense(rows: Rows) -> Floats:
    """Return rows as f4[m, n_dims]."""
    return rows.dense() if isinstance(rows, SparseRows) else rows


def as_sparse(rows: Rows) -> SparseRows:
    """Return rows by their non-zeros."""
    if isinstance(rows, SparseRows):
        return rows
    row, column = np.nonzero(rows)
    indptr = np.searchsorted(row, np.arange(len(rows) + 1))
    return SparseRows(
        indptr.astype(np.int64),
        column.astype(np.int32),
        np.ascontiguousarray(rows[row, column]),
        rows.shape[1],
    )


def check_k(k: Any) -> int:
    """Return ``k`` as an int.  Raises UsageError unless it is a whole number of at least 1."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise UsageError(f"k is {k!r}; it must be a whole number, 1 or more")
    return int(k)


def as_ids(ids: Any) -> NDArray[np.int64]:
    """Return ids as i8[m], distinct.  Raises UsageError for anything else."""
    found = np.atleast_1d(np.asarray(ids))
    if found.size == 0:
        return np.empty(0, np.int64)
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer):
        raise UsageError(f"ids of type {found.dtype} and shape {found.shape}; give one list of whole numbers")
    found = found.astype(np.int64)
    unique, counts = np.unique(found, return_counts=True)
    if len(unique) < len(found):
        raise UsageError(f"id {unique[counts > 1][0]} is given more than once; give each id once")
    return found


def _dense(X: Any, what: str) -> Floats:
    found = np.asarray(X)
    if found.ndim != 2:
        raise ShapeError(
            f"{what} have shape {found.shape}; they must be (rows, dimensions), one vector a row"
        )
    if found.dtype.kind not in "fiub":
        raise UsageError(f"{what} are of type {found.dtype}; give real numbers")
    return np.ascontiguousarray(found, np.float32)


def _check_finite(rows: Rows, what: str) -> None:
    values = rows.values if isinstance(rows, SparseRows) else rows
    # Anything not finite makes the sum so; a sum may also overflow by itself.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):
            return
    finite = np.isfinite(values)
    if finite.all():
        return
    if isinstance(rows, SparseRows):
        place = int(np.flatnonzero(~finite)[0])
        row, column = int(np.searchsorted(rows.indptr, place, "right")) - 1, int(rows.indices[place])
    else:
        row, column = (int(i) for i in np.argwhere(~finite)[0])
    value = values[place] if isinstance(rows, SparseRows) else values[row, column]
    raise UsageError(
        f"{what} hold {value} in row {row}, column {column}; give numbers that are finite as float32"
    )


def _members(rows: Rows) -> SparseRows:
    found = as_sparse(rows)
    present = found.values != 0
    if not present.all():
        before = np.concatenate([[0], np.cumsum(present)])
        found = SparseRows(before[found.indptr], found.indices[present], found.values[present], found.n_dims)
    return found._replace(values=np.ones(len(found.indices), np.float32))
