"""Keep the tables in step with the rows they index: build, or move what changed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distlsh.lsh.hasher import Hasher
from distlsh.lsh.tables import Tables

_BATCH = 4096
"""Rows read at a time: they stay in cache."""

_MOVES = 1 << 17
"""Rows moved at a time: many, since `Tables.move` goes table by table."""


def mean_row(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of the rows of ``weights`` f4[n, d], summed in float64, in blocks that fit a cache."""
    total = np.zeros(weights.shape[1], np.float64)
    for first in range(0, len(weights), _BATCH):
        total += weights[first : first + _BATCH].sum(axis=0, dtype=np.float64)
    return (total / max(1, len(weights))).astype(np.float32)


def build(tables: Tables, hasher: Hasher, weights: NDArray[np.float32]) -> int:
    """Fill an idle buffer from all rows of ``weights`` f4[n_rows, d]; return how many codes changed.

    Rows are hashed relative to ``tables.center``: set it first (`mean_row`, or zeros).
    Writes ``tables.codes``.
    """
    changed = 0
    for first in range(0, tables.n_rows, _BATCH):
        stored = tables.codes[first : first + _BATCH]
        codes = hasher.codes(weights[first : first + len(stored)], center=tables.center)
        changed += int(np.count_nonzero(codes != stored))
        stored[...] = codes
    tables.clear()
    tables.insert(np.arange(tables.n_rows, dtype=np.int32), tables.codes)
    return changed


def _codes_of(
    hasher: Hasher, weights: NDArray[np.float32], rows: NDArray[np.int32], center: NDArray[np.float32]
) -> NDArray[np.int32]:
    codes = np.empty((len(rows), hasher.spec.n_tables), np.int32)
    for first in range(0, len(rows), _BATCH):
        some = rows[first : first + _BATCH]
        hasher.codes(weights[some], codes[first : first + len(some)], center)
    return codes


def refresh(tables: Tables, hasher: Hasher, weights: NDArray[np.float32], rows: NDArray[np.int32]) -> int:
    """Hash the given ``rows`` i4[n] again and move those whose codes changed; return the moves.

    ``tables`` must hold what ``tables.codes`` says: first `Tables.copy_from` the buffer
    that was last built or refreshed.  Writes ``tables.codes``.
    """
    moved = 0
    for first in range(0, len(rows), _MOVES):
        ids = rows[first : first + _MOVES]
        codes = _codes_of(hasher, weights, ids, tables.center)
        moved += tables.move(ids, tables.codes[ids], codes)
        tables.codes[ids] = codes
    return moved
