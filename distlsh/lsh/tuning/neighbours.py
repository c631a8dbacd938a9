"""Exact neighbours by blocked products: what recall is measured against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import EMPTY, LABEL_BLOCK
from distlsh.kernels.topk import merge_topk
from distlsh.lsh.rows import Rows, SparseRows, n_rows

Floats = NDArray[np.float32]
Long = NDArray[np.int64]

_NO_BIAS: Floats = np.empty(0, np.float32)
_QUERIES = 256
"""Queries scored together: a block's scores stay in the caches."""

Beat = Callable[[], None]


def exact_neighbours(
    rows: Rows,
    queries: Rows,
    metric: str,
    k: int,
    *,
    excluded: list[Long] | None = None,
    bias: Floats | None = None,
    beat: Beat | None = None,
) -> Long:
    """Return i8[m, k], each query's nearest rows, nearest first, EMPTY (-1) beyond all rows.

    rows, queries  f4[n, n_dims] and f4[m, n_dims], or `SparseRows`
    metric         "cosine", "dot", "euclidean" or "jaccard" (of the sets of non-zero dimensions)
    excluded       for each query the rows that do not count, such as itself
    bias           f4[n], added to the score of each row (dot)
    beat           called after each block

    Equal scores are ordered by lower row.  Works in blocks: allocates some MiB and the result.
    """
    m, spare = n_rows(queries), max((len(some) for some in excluded or []), default=0)
    ids = np.full((m, k + spare), EMPTY, np.int32)
    scores = np.full((m, k + spare), -np.inf, np.float32)
    score = _Scores(rows, queries, metric, bias)
    for first in range(0, n_rows(rows), LABEL_BLOCK):
        last = min(first + LABEL_BLOCK, n_rows(rows))
        for start in range(0, m, _QUERIES):
            some = slice(start, start + _QUERIES)
            merge_topk(score.block(some, first, last), _NO_BIAS, first, ids[some], scores[some])
        if beat is not None:
            beat()
    return _without(ids, excluded, k)


def _without(ids: NDArray[np.int32], excluded: list[Long] | None, k: int) -> Long:
    if excluded is None:
        return ids.astype(np.int64)
    out = np.full((len(ids), k), EMPTY, np.int64)
    for i, out_of in enumerate(excluded):
        kept = ids[i][~np.isin(ids[i], out_of)][:k]
        out[i, : len(kept)] = kept
    return out


class _Scores:
    """Scores of blocks of queries and rows, higher for nearer."""

    def __init__(self, rows: Rows, queries: Rows, metric: str, bias: Floats | None) -> None:
        self._rows, self._queries = _matrix(rows, metric), _matrix(queries, metric)
        self._metric = metric
        self._row_sums = _sums(self._rows, metric)
        self._query_sums = _sums(self._queries, metric)
        self._bias = bias

    def block(self, some: slice, first: int, last: int) -> Floats:
        """Return f4[queries, last - first]."""
        products = self._queries[some] @ self._rows[first:last].T
        scores: Any = products.toarray() if hasattr(products, "toarray") else products
        of_rows = self._row_sums[first:last]
        with np.errstate(divide="ignore", invalid="ignore"):
            if self._metric == "cosine":  # the query's own length does not change the order
                scores = np.where(of_rows > 0, scores / np.sqrt(of_rows), 0)
            elif self._metric == "euclidean":
                scores = scores - of_rows / 2
            elif self._metric == "jaccard":
                union = self._query_sums[some, None] + of_rows - scores
                scores = np.where(union > 0, scores / union, 0)
        if self._bias is not None:
            scores = scores + self._bias[first:last]
        return np.ascontiguousarray(scores, np.float32)


def _matrix(rows: Rows, metric: str) -> Any:
    if isinstance(rows, SparseRows):
        return as_csr(rows, binary=metric == "jaccard")
    return (rows != 0).astype(np.float32) if metric == "jaccard" else rows


def as_csr(rows: SparseRows, *, binary: bool) -> Any:
    """Return sparse rows as a SciPy array, or with ones for all that is not zero."""
    from scipy.sparse import csr_array

    first, last = int(rows.indptr[0]), int(rows.indptr[-1])
    values = rows.values[first:last]
    values = (values != 0).astype(np.float32) if binary else values
    parts = (values, rows.indices[first:last], rows.indptr - first)
    return csr_array(parts, shape=(rows.n_rows, rows.n_dims))


def _sums(matrix: Any, metric: str) -> Floats:
    """Return the sum of squares of each row: for sets, their sizes."""
    if metric == "dot":
        return np.zeros(matrix.shape[0], np.float32)
    if hasattr(matrix, "multiply"):
        return np.asarray(matrix.multiply(matrix).sum(axis=1), np.float32).reshape(-1)
    sums: Floats = np.einsum("ij,ij->i", matrix, matrix)
    return sums
