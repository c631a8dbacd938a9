"""The segments of an index: taking rows out, and keeping segments few."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distlsh.lsh.index.segment import Segment, joined, merge, taken
from distlsh.lsh.rows import Rows

_GROWTH = 2
"""A segment is merged with the one before it unless that is so many times as large."""

_REMOVED_SHARE = 0.25
"""A segment is made anew when more of it is removed."""


def without(segment: Segment, labels: NDArray[np.int64]) -> Segment:
    """Return a segment in which those of ``labels`` i8[m] that it holds are removed."""
    places = np.searchsorted(segment.labels, labels)
    held = places < segment.n_rows
    held[held] = segment.labels[places[held]] == labels[held]
    held[held] = ~segment.removed[places[held]]
    return segment.without(places[held]) if held.any() else segment


def tidied(segments: Sequence[Segment], n_threads: int) -> tuple[Segment, ...]:
    """Return segments of which each is at least twice as large as the next, without many removed rows.

    So a row is copied a logarithmic number of times, however rows are added.
    """
    kept: list[Segment] = []
    for segment in segments:
        if segment.n_removed > _REMOVED_SHARE * segment.n_rows:
            segment = merge(segment, None, n_threads)
        kept.append(segment)
        while len(kept) > 1 and kept[-2].n_rows < _GROWTH * kept[-1].n_rows:
            later = kept.pop()
            kept[-1] = merge(kept[-1], later, n_threads)
    return tuple(kept)


def taken_of_all(segments: Sequence[Segment]) -> tuple[Rows, NDArray[np.int64]]:
    """Return the rows of all segments that are not removed, as stored, and their labels i8[n]."""
    rows = [taken(segment.rows, ~segment.removed) for segment in segments]
    labels = np.concatenate([segment.labels[~segment.removed] for segment in segments])
    whole = rows[0]
    for more in rows[1:]:
        whole = joined(whole, more)
    return whole, labels
