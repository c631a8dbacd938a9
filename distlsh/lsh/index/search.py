"""Search the segments of an index for blocks of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distlsh.kernels.index_search import search_rows
from distlsh.lsh.hasher import Ids
from distlsh.lsh.index import arrays, threads
from distlsh.lsh.index.encoder import Encoder
from distlsh.lsh.index.segment import Scratch, Segment
from distlsh.lsh.rows import Floats, Rows, SparseRows, block, n_rows

_BLOCK = 1 << 13
"""Queries whose components are held at a time."""

_MOST, _LEAST = 256, 16
"""Queries that a thread takes at a time: of few, each core gets some."""

_KEPT = 4
"""Rows whose second sketches are compared, for each scored exactly."""


@dataclass(frozen=True)
class Effort:
    """How much of an index a query looks at.

    n_probes        more buckets a table
    max_candidates  distinct rows taken from buckets, the likeliest buckets first; 0: all
    n_rerank        of these, rows scored exactly: those of the best sketches; 0: all
    """

    n_probes: int
    max_candidates: int
    n_rerank: int


def search(
    encoder: Encoder, segments: Sequence[Segment], queries: Rows, k: int, effort: Effort, n_threads: int
) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
    """Return the labels i8[m, k], scores f4[m, k] (larger is better) and numbers of candidates i8[m]."""
    m = n_rows(queries)
    labels, scores = np.empty((m, k), np.int64), np.empty((m, k), np.float32)
    counts = np.empty(m, np.int64)

    def work(first: int, last: int, base: int, components: Floats | None) -> None:
        some = block(queries, base + first, base + last)
        part = None if components is None else components[first:last]
        here = slice(base + first, base + last)
        search_ = _Block(encoder, some, part, effort, k)
        labels[here], scores[here], counts[here] = search_.of(segments)

    for first, last in threads.blocks(m, _BLOCK):
        components = encoder.query_components(block(queries, first, last))
        size = min(_MOST, max(_LEAST, -(-(last - first) // n_threads)))
        parts = [(a, b, first, components) for a, b in threads.blocks(last - first, size)]
        threads.over(work, parts, n_threads)
    return labels, scores, counts


class _Block:
    """A block of queries, searched in one segment after the other.

    queries     f4[b, n_dims] or `SparseRows`, as the metric stores them
    components  f4[b, ...] of the queries, or None
    """

    def __init__(
        self, encoder: Encoder, queries: Rows, components: Floats | None, effort: Effort, k: int
    ) -> None:
        self._queries, self._effort, self._k = queries, effort, k
        self._metric, self._set_bytes = encoder.metric, encoder.set_bytes
        self._codes = encoder.probes(queries, components, effort.n_probes)
        self._sketches, self._details = encoder.query_sketches(components, n_rows(queries))

    def of(self, segments: Sequence[Segment]) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
        """Return the best labels i8[b, k], their scores f4[b, k] and the numbers of candidates i8[b]."""
        total = sum(segment.n_rows for segment in segments)
        results = [self._of_one(segment, total) for segment in segments]
        if len(results) == 1:
            return results[0]
        labels, scores, counts = (np.concatenate(some, axis=-1) for some in zip(*results, strict=True))
        # Stable: of equal scores the earlier segment's, which has the lower labels.
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self._k]
        best = np.take_along_axis(labels, order, 1), np.take_along_axis(scores, order, 1)
        return *best, counts.reshape(len(results), -1).sum(axis=0)

    def _of_one(self, segment: Segment, total: int) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
        shape = len(self._codes), self._k
        places, scores = np.empty(shape, np.int32), np.empty(shape, np.float32)
        counts = np.empty(shape[0], np.int64)
        with segment.scratch() as scratch:
            if self._set_bytes:
                search_ = self._search_sets
            elif isinstance(segment.rows, SparseRows):
                search_ = self._search_sparse
            else:
                search_ = self._search_dense
            search_(segment, budget(self._effort, segment, total), scratch, places, scores, counts)
        return _labels(segment, places), scores, counts

    def _search_dense(
        self,
        segment: Segment,
        limit: int,
        scratch: Scratch,
        places: Ids,
        scores: Floats,
        counts: NDArray[np.int64],
    ) -> None:
        exact = max(self._effort.n_rerank, self._k) if self._effort.n_rerank else segment.n_rows + 1
        keep = _KEPT * exact if segment.details.shape[1] else exact
        search_rows(
            self._codes, segment.starts, segment.ids, segment.sketches, self._sketches,
            segment.details, self._details, segment.rows, self._queries,
            self._metric == "euclidean", limit, keep, exact,
            scratch.stamps, scratch.found, *scratch.ranked, places, scores, counts,
        )  # fmt: skip

    def _search_sparse(
        self,
        segment: Segment,
        limit: int,
        scratch: Scratch,
        places: Ids,
        scores: Floats,
        counts: NDArray[np.int64],
    ) -> None:
        from distlsh.kernels import index_sparse as kernels  # compiled only where it is used

        kind = {"euclidean": kernels.BY_DISTANCE, "jaccard": kernels.BY_OVERLAP}.get(
            self._metric, kernels.BY_PRODUCT
        )
        rows, queries = segment.rows, self._queries
        assert isinstance(rows, SparseRows) and isinstance(queries, SparseRows)
        kernels.search_sparse(
            self._codes, segment.starts, segment.ids, *rows[:3], *queries[:3], kind, limit,
            scratch.stamps, scratch.found, np.zeros(rows.n_dims, np.float32), places, scores, counts,
        )  # fmt: skip

    def _search_sets(
        self,
        segment: Segment,
        limit: int,
        scratch: Scratch,
        places: Ids,
        scores: Floats,
        counts: NDArray[np.int64],
    ) -> None:
        from distlsh.kernels.index_sets import search_sets, write_sets  # compiled only where it is used

        queries = self._queries
        assert isinstance(queries, SparseRows)
        bits = arrays.empty((n_rows(queries), self._set_bytes), np.int8)
        write_sets(queries.indptr, queries.indices, 0, bits)
        search_sets(
            self._codes, segment.starts, segment.ids, segment.sketches, bits, np.diff(queries.indptr), limit,
            scratch.stamps, scratch.found, places, scores, counts,
        )  # fmt: skip


def budget(effort: Effort, segment: Segment, total: int) -> int:
    """Return how many candidates a query takes of a segment: its share of ``max_candidates``."""
    if not effort.max_candidates:
        return segment.n_rows + 1
    return -(-effort.max_candidates * segment.n_rows // total)


def _labels(segment: Segment, places: Ids) -> NDArray[np.int64]:
    """Return the labels of places i4[b, k]; -1 of -1."""
    if not segment.n_rows:
        return np.full(places.shape, -1, np.int64)
    return np.where(places < 0, -1, segment.labels[places])
