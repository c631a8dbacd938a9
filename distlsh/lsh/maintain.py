"""Keep the tables in step with the rows they index: build, or move what changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from distlsh.lsh.hasher import Floats, Hasher, Ids
from distlsh.lsh.sketch import Sketcher
from distlsh.lsh.tables import Tables

_BATCH = 4096
"""Rows read at a time: they stay in cache."""

_MOVES = 1 << 17
"""Rows inserted or moved at a time: many, since the tables are gone through one by one."""

_DENSE = 0.75
"""Share of a block's rows from which all are hashed: reading them in a row costs less than picking some."""

_STEPS = 8
"""Steps of a weight in an octave: a weight that changes takes its row to new places in all its buckets."""

BeforeRows = Callable[[Ids], None]
"""Called with the ids whose rows are about to be read: to clear their dirty marks, to show life."""


def build(
    tables: Tables, hasher: Hasher, weights: Floats, *, seed: int = 1, before_rows: BeforeRows | None = None
) -> int:
    """Fill an idle buffer from all rows of ``weights`` f4[n_rows, d]; return how many codes changed.

    Rows are hashed relative to ``tables.center``, and where they are transformed with
    ``tables.max_norm``: set them first (`Frame.take`, or zeros without a transform).
    They are inserted in a random order made from ``seed``: in id order, full FIFO buckets
    would always drop the low ids.  Writes ``tables.codes``, and ``tables.sketch`` where there is one.
    """
    reader = _RowReader(tables, hasher, weights, before_rows)
    changed, n_rows = 0, tables.n_rows
    row_weights = np.empty(n_rows if tables.weights is not None else 0, np.float32)
    for first in range(0, n_rows, _BATCH):
        stored = tables.codes[first : first + _BATCH]
        ids = np.arange(first, first + len(stored), dtype=np.int32)
        codes = reader.read(ids, slice(first, first + len(stored)), row_weights[first : first + len(stored)])
        changed += int(np.count_nonzero(codes != stored))
        stored[...] = codes
    tables.clear()
    order = np.random.default_rng(seed).permutation(n_rows).astype(np.int32)
    if tables.weights is not None:
        tables.fill(order, row_weights)
        return changed
    for first in range(0, n_rows, _MOVES):
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
    that was last built or refreshed.  Writes ``tables.codes``, and ``tables.sketch`` where there is one.
    """
    reader = _RowReader(tables, hasher, weights, before_rows)
    moved = 0
    for first in range(0, len(rows), _MOVES):
        ids = rows[first : first + _MOVES]
        which = _where(ids)
        codes = np.empty((len(ids), hasher.spec.n_tables), np.int32)
        row_weights = np.empty(len(ids) if tables.weights is not None else 0, np.float32)
        for start in range(0, len(ids), _BATCH):
            some = ids[start : start + _BATCH]
            codes[start : start + _BATCH] = reader.read(
                some, _where(some), row_weights[start : start + _BATCH]
            )
        moved += tables.move(ids, tables.codes[which], codes, row_weights if len(row_weights) else None)
        tables.codes[which] = codes
    return moved


def worth_hashing(marks: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the rows to hash, ascending i4[n]: those marked in ``marks`` u1[n_rows], dense blocks whole."""
    chosen = marks.copy()  # workers mark rows meanwhile
    for first in range(0, len(chosen), _BATCH):
        block = chosen[first : first + _BATCH]
        if np.count_nonzero(block) >= _DENSE * len(block):
            block[:] = 1
    return np.flatnonzero(chosen).astype(np.int32)


def _where(ids: Ids) -> slice | Ids:
    """Return a slice, which copies nothing, for ids that follow each other."""
    if len(ids) and int(ids[-1]) - int(ids[0]) == len(ids) - 1 and (np.diff(ids) == 1).all():
        return slice(int(ids[0]), int(ids[-1]) + 1)
    return ids


class _RowReader:
    """Reads rows once for all that the tables keep of them: codes, sketches, weights."""

    def __init__(
        self, tables: Tables, hasher: Hasher, weights: Floats, before_rows: BeforeRows | None
    ) -> None:
        spec = hasher.spec
        self._tables, self._hasher, self._weights, self._before_rows = tables, hasher, weights, before_rows
        self._sketcher = Sketcher(spec.n_dims, spec.seed) if tables.sketch is not None else None

    def read(self, ids: Ids, which: slice | Ids, row_weights: Floats) -> Ids:
        """Return the codes of rows ``ids`` i4[m], found at ``which``; keep their sketches.

        row_weights  f4[m], written; or f4[0]: not wanted
        """
        if self._before_rows is not None:
            self._before_rows(ids)
        rows, center = self._weights[which], self._tables.center
        if self._sketcher is not None and self._tables.sketch is not None:
            self._sketcher.rows(rows, ids, center, self._tables.sketch)
        if len(row_weights):
            row_weights[...] = weights_of(rows, center)
        return self._hasher.codes(rows, center=center, max_norm=float(self._tables.max_norm[0]))


def weights_of(rows: Floats, center: Floats) -> Floats:
    """Return f4[m]: the norms of ``rows`` f4[m, d] less ``center`` f4[d], to within 1/16 of an octave.

    Zero where a norm is.  Rounded, so that a row that changes a little keeps its places.
    """
    norms = np.linalg.norm(rows - center, axis=1)
    with np.errstate(divide="ignore"):
        steps = np.round(np.log2(norms) * _STEPS)
    found: Floats = np.exp2(steps / _STEPS).astype(np.float32)
    return found
