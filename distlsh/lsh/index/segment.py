"""A segment: some vectors with their sketches and packed tables, never changed once made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.kernels.index_tables import merge_tables, pack_table
from distlsh.lsh.hasher import Ids
from distlsh.lsh.index import arrays, threads
from distlsh.lsh.index.encoder import Encoder
from distlsh.lsh.index.inputs import as_dense
from distlsh.lsh.rows import Rows, SparseRows, block, n_rows

_BLOCK = 1 << 15
"""Rows whose components are held at a time."""

_HASHED = 1 << 11
"""Rows that a thread hashes at a time."""


class Scratch:
    """What one thread needs to search one segment.

    stamps  u1[n + 1]: the last query that found each row; 255: removed; the last place is that query's
    found   i4[n + 1]: the candidates
    ranked  i4[3, n + 1]: scores of their sketches; the best ones, and their scores
    """

    def __init__(self, removed: NDArray[np.bool_]) -> None:
        self.stamps = np.where(np.append(removed, False), 255, 0).astype(np.uint8)
        self.found: Ids = np.empty(len(removed) + 1, np.int32)
        self.ranked: Ids = np.empty((3, len(removed) + 1), np.int32)


@dataclass(frozen=True)
class Segment:
    """Rows that were indexed together.

    rows     f4[n, n_dims] or `SparseRows`, as the metric stores them
    labels   i8[n], ascending: the ids that users know the rows by
    sketches, details  i1[n, w], first and second sketches; without columns where the encoder makes none
    starts   i4[n_tables, n_buckets + 1]
    ids      i4[n_tables, n]: bucket b of table t is ``ids[t, starts[t, b]:starts[t, b + 1]]``
    removed  b1[n]
    """

    rows: Rows
    labels: NDArray[np.int64]
    sketches: NDArray[np.int8]
    details: NDArray[np.int8]
    starts: Ids
    ids: Ids
    removed: NDArray[np.bool_]
    _idle: list[Scratch] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def build(cls, rows: Rows, labels: NDArray[np.int64], encoder: Encoder, n_threads: int) -> Segment:
        """Return a segment of stored rows."""
        n, spec = n_rows(rows), encoder.spec
        codes: Ids = np.empty((n, spec.n_tables), np.int32)
        sketches, details = (arrays.empty((n, width), np.int8) for width in encoder.sketch_bytes)
        for first, last in threads.blocks(n, _BLOCK):
            parts = codes[first:last], sketches[first:last], details[first:last]
            _encode(encoder, block(rows, first, last), parts, n_threads)
        starts: Ids = np.empty((spec.n_tables, spec.n_buckets + 1), np.int32)
        ids: Ids = np.empty((spec.n_tables, n), np.int32)

        def pack(table: int) -> None:
            pack_table(codes, table, starts[table], ids[table])

        threads.over(pack, [(table,) for table in range(spec.n_tables)], n_threads)
        return cls(rows, labels, sketches, details, starts, ids, np.zeros(n, np.bool_))

    @property
    def n_rows(self) -> int:
        """Rows held, removed ones included."""
        return len(self.labels)

    @property
    def n_removed(self) -> int:
        """Rows held that were removed."""
        return int(self.removed.sum())

    @property
    def n_bytes(self) -> int:
        """Bytes of the arrays."""
        rows = self.rows[:3] if isinstance(self.rows, SparseRows) else (self.rows,)
        others = (self.labels, self.sketches, self.details, self.starts, self.ids, self.removed)
        return sum(array.nbytes for array in (*rows, *others))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_idle": []}

    @contextmanager
    def scratch(self) -> Iterator[Scratch]:
        """Lend the scratch of one thread."""
        try:
            lent = self._idle.pop()
        except IndexError:
            lent = Scratch(self.removed)
        try:
            yield lent
        finally:
            self._idle.append(lent)

    def without(self, places: NDArray[np.int64]) -> Segment:
        """Return this segment with the rows at ``places`` i8[m] removed; arrays are shared."""
        removed = self.removed.copy()
        removed[places] = True
        return replace(self, removed=removed, _idle=[])


def merge(first: Segment, second: Segment | None, n_threads: int) -> Segment:
    """Return one segment of what is left of one or two, ``second`` the later; nothing is hashed again."""
    parts = [first] if second is None else [first, second]
    n = sum(part.n_rows - part.n_removed for part in parts)
    starts = np.empty_like(first.starts)
    ids: Ids = np.empty((len(starts), n), np.int32)
    later = second if second is not None else first.without(np.arange(first.n_rows))
    moved = _places(first.removed, 0), _places(later.removed, first.n_rows - first.n_removed)

    def pack(table: int) -> None:
        ends = starts[table], ids[table]
        one, two = ((part.starts[table], part.ids[table]) for part in (first, later))
        merge_tables(*one, moved[0], *two, moved[1], *ends)

    threads.over(pack, [(table,) for table in range(len(starts))], n_threads)
    rows = [taken(part.rows, ~part.removed) for part in parts]
    return Segment(
        rows[0] if len(rows) == 1 else joined(*rows),
        np.concatenate([part.labels[~part.removed] for part in parts]),
        arrays.stacked([part.sketches[~part.removed] for part in parts]),
        arrays.stacked([part.details[~part.removed] for part in parts]),
        starts,
        ids,
        np.zeros(n, np.bool_),
    )


def _encode(
    encoder: Encoder,
    rows: Rows,
    out: tuple[Ids, NDArray[np.int8], NDArray[np.int8]],
    n_threads: int,
) -> None:
    """Write the codes and both sketches of some rows."""
    codes, sketches, details = out
    components = encoder.components(rows)

    def work(first: int, last: int) -> None:
        some = None if components is None else components[first:last]
        part = block(rows, first, last)
        encoder.codes(part, some, codes[first:last])
        encoder.write_sketches(part, some, sketches[first:last], details[first:last])

    threads.over(work, threads.blocks(n_rows(rows), _HASHED), n_threads)


def _places(removed: NDArray[np.bool_], start: int) -> Ids:
    """Return where each row goes when removed ones are left out: i4[n], -1 for those."""
    return np.where(removed, -1, start + np.cumsum(~removed) - 1).astype(np.int32)


def taken(rows: Rows, places: NDArray[np.int64] | NDArray[np.bool_]) -> Rows:
    """Return the rows at ``places`` i8[m], or where b1[n] is True, copied."""
    if not isinstance(rows, SparseRows):
        return arrays.copied(rows[places])
    if places.dtype == np.bool_:
        places = np.flatnonzero(places)
    lengths = np.diff(rows.indptr)[places]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    # The place of each value: where its row starts, and how far in it is.
    here = np.repeat(rows.indptr[places] - indptr[:-1], lengths) + np.arange(indptr[-1])
    return SparseRows(indptr, rows.indices[here], rows.values[here], rows.n_dims)


def joined(first: Rows, second: Rows) -> Rows:
    """Return the rows of both, ``first`` before ``second``."""
    if not isinstance(first, SparseRows) or not isinstance(second, SparseRows):
        return arrays.stacked([as_dense(first), as_dense(second)])
    return SparseRows(
        np.concatenate([first.indptr, first.indptr[-1] + second.indptr[1:]]),
        np.concatenate([first.indices, second.indices]),
        np.concatenate([first.values, second.values]),
        first.n_dims,
    )
