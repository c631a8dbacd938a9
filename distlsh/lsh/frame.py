"""What rows are hashed relative to: taken from all of them at a build, watched from then on.

Hashes see the angles of rows less their mean.  While a network trains, all rows may move
by a common vector, which changes no softmax but turns every row that is still hashed
relative to the mean of long ago in the same direction: they crowd into few buckets, and
queries find none of them.  Transforms for inner products need the longest row's length, and
shorten rows that outgrew it.  So a refresh first asks whether the frame still fits.
"""

from __future__ import annotations

import numpy as np

from distlsh.lsh.hasher import Floats, Ids
from distlsh.lsh.tables import Tables
from distlsh.lsh.transforms import largest_norm

MAX_SHIFT = 0.2
"""Distance that the mean may move, over the rows' mean distance from it: some 12 degrees for a row."""

HEADROOM = 1.2
"""What is stored as the longest row's length, over that length: rows grow while a network trains."""

_SAMPLE = 8192
"""Rows that the mean is estimated from between builds; its error is 1/90 of the rows' spread."""

_BATCH = 4096
"""Rows read at a time: they stay in cache."""


def mean_row(weights: Floats) -> Floats:
    """Return the mean of the rows of ``weights`` f4[n, d], summed in float64, in blocks that fit a cache."""
    total = np.zeros(weights.shape[1], np.float64)
    for first in range(0, len(weights), _BATCH):
        total += weights[first : first + _BATCH].sum(axis=0, dtype=np.float64)
    return (total / max(1, len(weights))).astype(np.float32)


def largest_from(center: Floats, weights: Floats, ids: Ids | None = None) -> float:
    """Return the length of the longest of the rows of ``weights`` f4[n, d], or of some, less ``center``."""
    largest = 0.0
    n = len(weights) if ids is None else len(ids)
    for first in range(0, n, _BATCH):
        which = slice(first, first + _BATCH) if ids is None else ids[first : first + _BATCH]
        largest = max(largest, largest_norm(weights[which] - center))
    return largest


class Frame:
    """Takes and watches the frame of one layer's tables.

    center  whether rows are hashed relative to their mean
    norms   whether they are transformed, and need the longest row's length
    """

    def __init__(self, n_rows: int, *, center: bool, norms: bool = False, seed: int = 1) -> None:
        self._center, self._norms = center, norms
        chosen = np.random.default_rng(seed).choice(n_rows, min(n_rows, _SAMPLE), replace=False)
        self._sample: Ids = np.sort(chosen).astype(np.int32)

    def take(self, tables: Tables, weights: Floats) -> None:
        """Set ``tables.center`` and ``max_norm`` from all rows of ``weights`` f4[n, d], to hash them next."""
        tables.center[...] = mean_row(weights) if self._center else 0.0
        if self._norms:
            # Rows of zeros alone have no length to take; any will do.
            tables.max_norm[0] = HEADROOM * largest_from(tables.center, weights) or 1.0

    def fits(self, tables: Tables, weights: Floats, changed: Ids) -> bool:
        """Tell whether codes in the frame of ``tables`` still tell rows apart; if not, build anew.

        weights  f4[n, d], of which some thousand rows are read
        changed  rows that may have grown, all of which are read if lengths matter
        """
        if self._norms and largest_from(tables.center, weights, changed) > tables.max_norm[0]:
            return False
        return not self._center or not len(self._sample) or self._shift(tables, weights) <= MAX_SHIFT

    def _shift(self, tables: Tables, weights: Floats) -> float:
        apart = weights[self._sample].astype(np.float64) - tables.center
        spread = float(np.sqrt(np.mean(np.sum(apart**2, axis=1))))
        return float(np.linalg.norm(apart.mean(axis=0))) / max(spread, np.finfo(np.float64).tiny)
