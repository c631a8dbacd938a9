"""Which rows the buckets of queries hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from distlsh.kernels.index_search import collect_rows
from distlsh.lsh.hasher import Ids
from distlsh.lsh.index import threads
from distlsh.lsh.index.encoder import Encoder
from distlsh.lsh.index.search import Effort, budget
from distlsh.lsh.index.segment import Segment
from distlsh.lsh.rows import Rows, block, n_rows

_BLOCK = 1 << 8


def candidate_rows(
    encoder: Encoder, segments: Sequence[Segment], queries: Rows, n_ids: int, effort: Effort, n_threads: int
) -> csr_array:
    """Return u1[m, n_ids], 1 at the labels that each query's buckets hold; ``queries`` as stored."""
    m = n_rows(queries)
    counts = np.zeros((m, len(segments)), np.int64)
    found: dict[tuple[int, int], NDArray[np.int64]] = {}
    total = sum(segment.n_rows for segment in segments)

    def work(first: int, last: int) -> None:
        some = block(queries, first, last)
        codes = encoder.probes(some, encoder.query_components(some), effort.n_probes)
        for number, segment in enumerate(segments):
            places, n = _collected(segment, codes, budget(effort, segment, total))
            counts[first:last, number] = n
            found[first, number] = segment.labels[places]

    threads.over(work, threads.blocks(m, _BLOCK), n_threads)
    rows = [np.repeat(np.arange(m), counts[:, number]) for number in range(len(segments))]
    labels = [found[first, number] for number in range(len(segments)) for first in range(0, m, _BLOCK)]
    column = np.concatenate(labels)
    ones = np.ones(len(column), np.uint8)
    # The conversion from coordinates sorts each row's columns where there are several.
    out = csr_array((ones, (np.concatenate(rows), column)), shape=(m, n_ids))
    out.sort_indices()
    return out


def _collected(segment: Segment, codes: Ids, limit: int) -> tuple[Ids, NDArray[np.int64]]:
    """Return the places that queries' buckets hold, one query after the other, and how many of each."""
    counts = np.empty(len(codes), np.int64)
    with segment.scratch() as scratch:
        fixed = codes, segment.starts, segment.ids, limit, scratch.stamps, scratch.found, counts
        collect_rows(*fixed, np.empty(0, np.int32))
        out: Ids = np.empty(counts.sum(), np.int32)
        collect_rows(*fixed, out)
    return out, counts
