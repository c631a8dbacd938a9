"""What is to be tuned for: rows, queries, the queries' exact neighbours, and a sample of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import EMPTY
from distlsh.errors import ShapeError, UsageError
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.rows import Rows, SparseRows, n_rows
from distlsh.lsh.transforms import largest_norm
from distlsh.lsh.tuning.neighbours import Beat, Floats, Long, exact_neighbours

Ids = NDArray[np.int32]

METRICS = ("cosine", "dot", "euclidean", "jaccard")
_HASHED = 4096
"""Rows hashed at a time: bounds the copies of their vectors."""


@dataclass(frozen=True)
class Problem:
    """The sample that candidates are measured on.

    rows        all n rows, f4[n, n_dims] or `SparseRows`
    queries     a sample of the queries, m rows of the same width
    neighbours  i8[m, k], each query's exact neighbours among all rows, EMPTY beyond the last
    background  i8[b], a uniform sample of the rows, ascending
    center      f4[n_dims] that rows are hashed relative to, or None
    query_center  the same of queries: None in training, where queries are hashed as they are
    max_norm    length of the longest row, for asymmetric transforms, or None
    beat        called every some thousand vectors
    """

    rows: Rows
    queries: Rows
    metric: str
    neighbours: Long
    background: Long
    center: Floats | None = None
    query_center: Floats | None = None
    max_norm: float | None = None
    beat: Beat | None = None

    @property
    def n_rows(self) -> int:
        """Rows in all, n."""
        return n_rows(self.rows)

    @property
    def n_dims(self) -> int:
        """Width of the vectors."""
        return width(self.rows)

    @property
    def k(self) -> int:
        """Neighbours of a query that count."""
        return int(self.neighbours.shape[1])

    def probes(self, hasher: Hasher) -> Ids:
        """Return the queries' buckets i4[m, L, C], best first."""
        parts = self._parts(self.queries)
        return np.concatenate([hasher.probes(some, center=self.query_center) for some in parts])

    def codes(self, hasher: Hasher, ids: Long) -> Ids:
        """Return the codes i4[len(ids), L] of rows."""
        parts = (take(self.rows, ids[i : i + _HASHED]) for i in range(0, len(ids), _HASHED))
        found = [self._hash(hasher, part) for part in parts]
        return np.concatenate(found) if found else np.empty((0, hasher.spec.n_tables), np.int32)

    def neighbour_codes(self, hasher: Hasher) -> Ids:
        """Return the codes i4[m, k, L] of each query's neighbours, EMPTY where it has none."""
        distinct, place = np.unique(self.neighbours, return_inverse=True)
        codes = np.full((len(distinct), hasher.spec.n_tables), EMPTY, np.int32)
        real = distinct != EMPTY
        codes[real] = self.codes(hasher, distinct[real])
        return codes[place.reshape(self.neighbours.shape)]

    def _hash(self, hasher: Hasher, part: Any) -> Ids:
        if self.beat is not None:
            self.beat()
        return hasher.codes(part, center=self.center, max_norm=self.max_norm)

    def _parts(self, rows: Rows) -> Iterator[Any]:
        for first in range(0, n_rows(rows), _HASHED):
            if self.beat is not None:
                self.beat()
            yield take(rows, np.arange(first, min(first + _HASHED, n_rows(rows))))


def pose(
    X: Any,
    queries: Any = None,
    *,
    metric: str,
    k: int,
    sample: int = 512,
    background: int = 8192,
    seed: int = 1,
    center: Floats | None = None,
) -> Problem:
    """Draw the samples and find the exact neighbours.

    X           rows to index: dense or SciPy sparse [n, n_dims]
    queries     what will be asked, [m, n_dims]; None: rows of X, each of which is not its own neighbour
    sample      queries to look at; all, where there are fewer
    background  rows to count candidates in; all, where there are fewer

    Raises UsageError for an unknown metric, ShapeError for shapes that do not fit, too few rows,
    or numbers that are not finite.
    """
    check_metric(metric)
    rows = as_rows(X, "X")
    n, generator = n_rows(rows), np.random.default_rng((seed, 0x7E5))
    check_enough(n, k, "X", held_out=queries is None)
    asked = rows if queries is None else as_rows(queries, "queries")
    if width(asked) != width(rows):
        raise ShapeError(f"queries have {width(asked)} dimensions, X has {width(rows)}; give vectors alike")
    chosen = some_of(n_rows(asked), sample, generator)
    excluded = [np.array([i]) for i in chosen] if queries is None else None
    asked = take(asked, chosen)
    return Problem(
        rows=rows,
        queries=asked,
        metric=metric,
        neighbours=exact_neighbours(rows, asked, metric, k, excluded=excluded),
        background=some_of(n, background, generator),
        center=center,
        max_norm=largest_norm(rows) if metric == "dot" else None,
    )


def check_metric(metric: str) -> None:
    """Raise UsageError for a metric that is none."""
    if metric not in METRICS:
        raise UsageError(f"metric {metric!r} is unknown; use one of {', '.join(METRICS)}")


def some_of(n: int, size: int, generator: np.random.Generator) -> Long:
    """Return ``size`` distinct numbers below n, ascending; all of them where there are fewer."""
    return np.arange(n) if n <= size else np.sort(generator.choice(n, size, replace=False))


def as_rows(X: Any, name: str) -> Rows:
    """Return dense or SciPy sparse vectors as rows to hash; ShapeError, naming ``name``, for others."""
    if isinstance(X, SparseRows):
        return X
    if not hasattr(X, "tocsr"):
        X = np.asarray(X)
    if X.ndim != 2 or X.dtype.kind not in "fiub":
        raise ShapeError(f"{name} is {X.dtype}{list(X.shape)}; give numbers [rows, dimensions]")
    if not X.shape[0] or not X.shape[1]:
        raise ShapeError(f"{name} is empty: {list(X.shape)}; there is nothing to measure on")
    rows: Rows = SparseRows.of(X) if hasattr(X, "tocsr") else np.ascontiguousarray(X, np.float32)
    values = rows.values if isinstance(rows, SparseRows) else rows
    for first in range(0, len(values), _HASHED):
        if not np.isfinite(values[first : first + _HASHED]).all():
            raise ShapeError(f"{name} holds NaN or infinity; remove or replace such numbers")
    return rows


def take(rows: Rows, ids: Long) -> Rows:
    """Return the given rows, in C order."""
    if not isinstance(rows, SparseRows):
        return np.ascontiguousarray(rows[ids])
    counts = rows.indptr[ids + 1] - rows.indptr[ids]
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    places = np.arange(indptr[-1]) - np.repeat(indptr[:-1] - rows.indptr[ids], counts)
    return SparseRows(indptr, rows.indices[places], rows.values[places], rows.n_dims)


def width(rows: Rows) -> int:
    """Return the number of dimensions."""
    return rows.n_dims if isinstance(rows, SparseRows) else int(rows.shape[1])


def check_enough(n: int, k: int, name: str, *, held_out: bool) -> None:
    """Raise UsageError for k below 1, ShapeError for too few rows; if ``held_out`` a query is one."""
    if k < 1:
        raise UsageError(f"k is {k}; ask for at least one neighbour")
    if n < k + held_out:
        raise ShapeError(f"{name} has {n} rows, too few for {k} neighbours of a query; lower k")
