"""Keep the tables in step with the rows they index: build, or move what changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from distlsh.lsh.hasher import Floats, Hasher, Ids
from distlsh.lsh.tables import Tables

_BATCH = 4096
"""Rows read at a time: they stay in cache."""

_MOVES = 1 << 17
"""Rows inserted or moved at a time: many, since the tables are gone through one by one."""

BeforeRows = Callable[[Ids], None]
"""Called with the ids whose rows are about to be read: to clear their dirty marks, to show life."""


def build(
    tables: Tables, hasher: Hasher, weights: Floats, *, seed: int = 1, before_rows: BeforeRows | None = None
) -> int:
    """Fill an idle buffer from all rows of ``weights`` f4[n_rows, d]; return how many codes changed.

    Rows are hashed relative to ``tables.center``, and where they are transformed with
    ``tables.max_norm``: set them first (`Frame.take`, or zeros without a transform).
    They are inserted in a random order made from ``seed``: in id order, full FIFO buckets
    would always drop the low ids.  Writes ``tables.codes``.
    """
    changed = 0
    for first in range(0, tables.n_rows, _BATCH):
        stored = tables.codes[first : first + _BATCH]
        if before_rows is not None:
            before_rows(np.arange(first, first + len(stored), dtype=np.int32))
        codes = hasher.codes(
            weights[first : first + len(stored)], center=tables.center, max_norm=float(tables.max_norm[0])
        )
        changed += int(np.count_nonzero(codes != stored))
        stored[...] = codes
    tables.clear()
    order = np.random.default_rng(seed).permutation(tables.n_rows).astype(np.int32)
    for first in range(0, len(order), _MOVES):
        ids = order[first : first + _MOVES]
        tables.insert(ids, tables.codes[ids])
        if before_rows is not None:
            before_rows(ids[:0])  # a sign of life: no rows are read
    return changed


def refresh(
    tables: Tables,
    hasher: Hasher,
    weights: Floats,
    rows: NDArray[np.int32],
    *,
    before_rows: BeforeRows | None = None,
) -> int:
    """Hash the given ``rows`` i4[n], distinct, again and move those whose codes changed; return the moves.

    ``tables`` must hold what ``tables.codes`` says: first `Tables.copy_from` the buffer
    that was last built or refreshed.  Writes ``tables.codes``.
    """
    moved = 0
    for first in range(0, len(rows), _MOVES):
        ids = rows[first : first + _MOVES]
        codes = _codes_of(ids, hasher, weights, tables, before_rows)
        moved += tables.move(ids, tables.codes[ids], codes)
        tables.codes[ids] = codes
    return moved


def _codes_of(
    ids: Ids, hasher: Hasher, weights: Floats, tables: Tables, before_rows: BeforeRows | None
) -> Ids:
    codes = np.empty((len(ids), hasher.spec.n_tables), np.int32)
    for first in range(0, len(ids), _BATCH):
        some = ids[first : first + _BATCH]
        if before_rows is not None:
            before_rows(some)
        max_norm = float(tables.max_norm[0])
        hasher.codes(weights[some], codes[first : first + len(some)], tables.center, max_norm)
    return codes
