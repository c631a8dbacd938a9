"""Instances and their labels, read-only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import FLOAT, ID, OFFSET
from distlsh.data.block import F4, I4, I8
from distlsh.errors import ShapeError
from distlsh.lsh.rows import as_csr

_COUNT_BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class Dataset:
    """Sparse rows with their labels, as CSR arrays that may be read-only memory maps.

    indptr i8[n_rows+1], indices i4[nnz], values f4[nnz]: features, ascending and distinct within a row
    label_indptr i8[n_rows+1], labels i4[n_label_entries]: labels, likewise
    path     the store the arrays are mapped from, or None
    source   what the rows came from, for messages
    """

    indptr: I8
    indices: I4
    values: F4
    label_indptr: I8
    labels: I4
    n_features: int
    n_labels: int
    path: Path | None = None
    source: str = "arrays"
    meta: dict[str, Any] = field(default_factory=dict, repr=False)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle the place of the store instead of its arrays: other processes map it themselves."""
        if self.path is None:
            return super().__reduce_ex__(protocol)
        return _reopen, (self.path, self.n_features, self.n_labels)

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def n_bytes(self) -> int:
        """Size of the five arrays in bytes."""
        arrays = (self.indptr, self.indices, self.values, self.label_indptr, self.labels)
        return sum(array.nbytes for array in arrays)

    def label_counts(self) -> I8:
        """Return i8[n_labels]: instances of each label."""
        counts = np.zeros(self.n_labels, OFFSET)
        for start in range(0, len(self.labels), _COUNT_BLOCK):
            counts += np.bincount(self.labels[start : start + _COUNT_BLOCK], minlength=self.n_labels)
        return counts

    def to_csr(self) -> Any:
        """Return the features as a SciPy CSR array [n_rows, n_features] of float32."""
        from scipy.sparse import csr_array

        return csr_array((self.values, self.indices, self.indptr), shape=(self.n_rows, self.n_features))

    def labels_csr(self) -> Any:
        """Return the labels as a SciPy CSR indicator array [n_rows, n_labels] of float32 ones."""
        from scipy.sparse import csr_array

        ones = np.ones(len(self.labels), FLOAT)
        return csr_array((ones, self.labels, self.label_indptr), shape=(self.n_rows, self.n_labels))

    def with_sizes(self, n_features: int, n_labels: int) -> Dataset:
        """Return the same rows over larger id ranges; ShapeError if a range would shrink."""
        if n_features < self.n_features or n_labels < self.n_labels:
            raise ShapeError(
                f"{self.source}: has {self.n_features} features and {self.n_labels} labels, which do not fit "
                f"{n_features} and {n_labels}"
            )
        return replace(self, n_features=n_features, n_labels=n_labels)

    @classmethod
    def from_csr(cls, features: Any, labels: Any = None, *, n_labels: int | None = None) -> Dataset:
        """Return a data set of arrays in memory.

        features  SciPy sparse or dense [n_rows, n_features]; copied where dtype or order ask for it
        labels    None, SciPy sparse indicator [n_rows, n_labels], i[n_rows] with one label a row,
                  or a sequence of a sequence of labels a row
        n_labels  at least the largest label + 1; default: what ``labels`` shows
        """
        matrix = _canonical_csr(features)
        label_indptr, ids, found = _label_arrays(labels, matrix.shape[0])
        if n_labels is not None and n_labels < found:
            raise ShapeError(f"labels reach {found - 1}, which does not fit n_labels={n_labels}")
        return cls(
            indptr=_frozen(matrix.indptr, OFFSET),
            indices=_frozen(matrix.indices, ID),
            values=_frozen(matrix.data, FLOAT),
            label_indptr=_frozen(label_indptr, OFFSET),
            labels=_frozen(ids, ID),
            n_features=int(matrix.shape[1]),
            n_labels=found if n_labels is None else n_labels,
        )


def _reopen(path: Path, n_features: int, n_labels: int) -> Dataset:
    from distlsh.data.store import open_store

    return open_store(path).with_sizes(n_features, n_labels)


def _canonical_csr(features: Any) -> Any:
    from scipy.sparse import issparse

    if not issparse(features):
        features = np.asarray(features)
        if features.ndim != 2:
            raise ShapeError(f"features have {features.ndim} dimensions; expected rows x features")
    matrix = as_csr(features)
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    bad = ~np.isfinite(matrix.data.astype(FLOAT, copy=False))
    if bad.any():
        place = int(np.argmax(bad))
        row = int(np.searchsorted(matrix.indptr, place, side="right")) - 1
        raise ShapeError(
            f"features of row {row} hold NaN, infinity or a value too large for float32: "
            f"{matrix.data[place]} for feature {matrix.indices[place]}"
        )
    return matrix


def _label_arrays(labels: Any, n_rows: int) -> tuple[NDArray[Any], NDArray[Any], int]:
    """Return (label_indptr, labels, largest label + 1)."""
    from scipy.sparse import issparse

    if labels is None:
        return np.zeros(n_rows + 1, OFFSET), np.zeros(0, ID), 0
    if issparse(labels):
        indicator: Any = labels
        matrix = as_csr(indicator, copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        _same_rows(matrix.shape[0], n_rows)
        return matrix.indptr, matrix.indices, int(matrix.shape[1])
    _same_rows(len(labels), n_rows)
    rows = [_row_labels(row) for row in labels]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=OFFSET)])
    ids = np.concatenate(rows) if rows else np.zeros(0, ID)
    if len(ids) and ids.min() < 0:
        raise ShapeError(f"label {ids.min()} is negative; labels count from 0")
    return indptr, ids, int(ids.max()) + 1 if len(ids) else 0


def _row_labels(row: int | Sequence[int] | NDArray[Any]) -> NDArray[Any]:
    ids = np.unique(np.atleast_1d(np.asarray(row)))
    if len(ids) and not np.issubdtype(ids.dtype, np.integer):
        raise ShapeError(f"labels must be whole numbers, found {ids.dtype}")
    return ids.astype(OFFSET)


def _same_rows(found: int, n_rows: int) -> None:
    if found != n_rows:
        raise ShapeError(f"labels have {found} rows, features {n_rows}")


def _frozen(array: Any, dtype: np.dtype[Any]) -> Any:
    view = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view
