"""How alike queries and rows are, in what their hash functions see."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import EMPTY
from distlsh.lsh.rows import Rows, SparseRows
from distlsh.lsh.tuning.neighbours import as_csr
from distlsh.lsh.tuning.problem import Problem, take

Doubles = NDArray[np.float64]


def similarities(problem: Problem, queries: Rows, ids: NDArray[np.int64]) -> tuple[str, Doubles]:
    """Return what is compared, and f8[m, b] or f8[m, k].

    ids  i8[b]: each query with each row; i8[m, k]: each with its own; EMPTY gives what row 0 does

    "distance" for the Euclidean metric, "jaccard" of the sets of non-zeros, else "cosine",
    of the rows relative to the problem's center.
    """
    kind = {"euclidean": "distance", "jaccard": "jaccard"}.get(problem.metric, "cosine")
    asked = _dense(queries, kind)
    if problem.query_center is not None:
        asked = asked - problem.query_center
    if ids.ndim == 1:
        return kind, _compare(asked, _rows(problem, ids, kind), kind)
    own = [
        _compare(asked[i : i + 1], _rows(problem, np.where(some == EMPTY, 0, some), kind), kind)[0]
        for i, some in enumerate(ids)
    ]
    return kind, np.array(own)


def _rows(problem: Problem, ids: NDArray[np.int64], kind: str) -> Any:
    rows = _dense(take(problem.rows, ids), kind)
    return rows - problem.center if problem.center is not None else rows


def _dense(rows: Rows, kind: str) -> Any:
    """Return the rows as a matrix that products take, f8 dense or SciPy sparse."""
    if isinstance(rows, SparseRows):
        return as_csr(rows, binary=kind == "jaccard").astype(np.float64)
    return (rows != 0).astype(np.float64) if kind == "jaccard" else rows.astype(np.float64)


def _compare(queries: Any, rows: Any, kind: str) -> Doubles:
    products = queries @ rows.T
    products = np.asarray(products.todense() if hasattr(products, "todense") else products)
    a, b = _squares(queries)[:, None], _squares(rows)[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "distance":
            return np.asarray(np.sqrt(np.maximum(0, a + b - 2 * products)))
        scale = a + b - products if kind == "jaccard" else np.sqrt(a * b)
        return np.where(scale > 0, products / scale, 0)


def _squares(matrix: Any) -> Doubles:
    squares = matrix.multiply(matrix) if hasattr(matrix, "multiply") else matrix * matrix
    return np.asarray(squares.sum(axis=1)).reshape(-1)
