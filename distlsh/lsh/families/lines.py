"""Families that read vectors as lines: 16 at a time, coordinate by coordinate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.kernels._ir import LANES
from distlsh.kernels.blocks import load_dense, load_sparse, put_sparse, take_sparse
from distlsh.lsh.families.base import Family, Ids
from distlsh.lsh.rows import Floats, Rows, SparseRows, n_rows
from distlsh.lsh.spec import HashSpec

_SCRATCH_BYTES = 1 << 19
"""Of lines, and what is computed from them, at a time: they stay in the second-level cache."""

_MAX_BLOCKS = 16
_NO_CENTER: Floats = np.zeros(0, np.float32)


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return zeros that start a cache line, so that no line of 16 lanes straddles two."""
    size = int(np.prod(shape))
    raw = np.zeros(size + LANES, dtype)
    start = (-raw.ctypes.data % 64) // raw.itemsize
    return raw[start : start + size].reshape(shape)


def u8(number: int) -> np.uint64:
    """Return the low 64 bits of a seed."""
    return np.uint64(number & 0xFFFFFFFFFFFFFFFF)


def choice_scratch(spec: HashSpec) -> tuple[NDArray[Any], ...]:
    """Return the scratch of `kernels.probing.best_codes`: costs, parts, totals, sums."""
    return (
        np.zeros((spec.n_hashes, spec.n_choices), np.float32),
        np.zeros((spec.n_hashes, spec.n_choices), np.uint64),
        np.zeros((2, spec.n_codes), np.float32),
        np.zeros((2, spec.n_codes), np.uint64),
    )


class LineFamily(ABC):
    """Loads rows into lines, some blocks of 16 at a time, for a family to hash.

    spec         of the family
    width        lines of a block, at least n_dims
    pad          what lines from n_dims on hold
    keeps_lines  the family leaves lines as they are: wide sparse rows are then loaded in the time
                 of their non-zeros
    more_lines   lines that the family itself keeps for each block
    """

    def __init__(
        self,
        spec: HashSpec,
        width: int,
        *,
        pad: float = 0.0,
        keeps_lines: bool = False,
        more_lines: int = 0,
    ) -> None:
        self.spec = spec
        fitting = _SCRATCH_BYTES // (4 * LANES * (width + more_lines))
        self.n_blocks = min(max(1, fitting), _MAX_BLOCKS)
        self._lines = aligned((self.n_blocks, width, LANES), np.float32)
        self._origin: Floats = np.zeros(spec.n_dims, np.float32)
        self._pad = np.float32(pad)
        self._keeps_lines = keeps_lines
        self._clear = False

    def codes(self, rows: Rows, center: Floats | None, out: Ids) -> None:
        """Write the code of each row in each table; see `base.Family`."""
        for first, last in self._loaded(rows, center):
            self.hash_lines(self._lines, out[first:last])

    def probes(self, rows: Rows, center: Floats | None, out: Ids, scores: Floats) -> None:
        """Write each query's codes in each table; see `base.Family`."""
        shared = len(scores) != len(out)
        for first, last in self._loaded(rows, center):
            self.probe_lines(self._lines, out[first:last], scores if shared else scores[first:last])

    @abstractmethod
    def one_by_one(self) -> Family:
        """Return the same hash functions for few vectors; see `base.Family`."""

    @abstractmethod
    def hash_lines(self, lines: Floats, out: Ids) -> None:
        """Write the codes i4[m, n_tables] of the m vectors in ``lines`` f4[>= m / 16, width, 16]."""

    @abstractmethod
    def probe_lines(self, lines: Floats, out: Ids, scores: Floats) -> None:
        """Write probes i4[m, n_tables, n_codes] and scores f4[m or 1, ...] of the vectors in ``lines``."""

    def _loaded(self, rows: Rows, center: Floats | None) -> Iterator[tuple[int, int]]:
        """Load some rows after others; yield the range [first, last) that the lines hold."""
        m, step = n_rows(rows), LANES * self.n_blocks
        for first in range(0, m, step):
            last = min(first + step, m)
            if not isinstance(rows, SparseRows):
                self._clear = False
                load_dense(
                    rows[first:last], self._origin if center is None else center, self._pad, self._lines
                )
                yield first, last
            elif center is None and self._keeps_lines:
                yield from self._lent(rows, first, last)
            else:
                self._clear = False
                middle = _NO_CENTER if center is None else center
                where = (rows.indptr, rows.indices, rows.values, first, last, self.spec.n_dims)
                load_sparse(*where, middle, self._pad, self._lines)
                yield first, last

    def _lent(self, rows: SparseRows, first: int, last: int) -> Iterator[tuple[int, int]]:
        if not self._clear:
            self._lines[:, : self.spec.n_dims] = 0.0
            self._lines[:, self.spec.n_dims :] = self._pad
        self._clear = False
        put_sparse(rows.indptr, rows.indices, rows.values, first, last, self._lines)
        yield first, last
        take_sparse(rows.indptr, rows.indices, first, last, self._lines)
        self._clear = True
