"""Rows in 8 bits beside their float32 selves, and exact top-k by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distlsh.kernels.int8_tile import QUERIES, ROWS, WIDTH

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]

_CODE_BLOCK = 85 * ROWS
"""Rows coded together where no codes are kept: a multiple of a tile's rows, about 1,024."""

_FEW = 4
"""Queries up to which each goes through all rows by itself."""


def _padded(d: int) -> int:
    return -(-d // WIDTH) * WIDTH


@dataclass(frozen=True, slots=True)
class RowCodes:
    """Rows in 8 bits, with what bounds their products.

    codes   i1[n rounded up to whole tiles, d rounded up to a multiple of 64]
    facts   f4[as codes, 3], see `kernels.screening.code_rows`
    starts  i4[as codes]
    """

    codes: NDArray[np.int8]
    facts: Floats
    starts: NDArray[np.int32]

    @classmethod
    def empty(cls, n: int, d: int) -> RowCodes:
        """Return room for n rows of width d."""
        n = -(-n // ROWS) * ROWS
        codes = np.zeros((n, _padded(d)), np.int8)
        return cls(codes, np.zeros((n, 3), np.float32), np.zeros(n, np.int32))

    @classmethod
    def of(cls, weights: Floats) -> RowCodes:
        """Return the codes of rows f4[n, d]: about a quarter of their bytes."""
        found = cls.empty(*weights.shape)
        found.code(weights)
        return found

    def code(self, weights: Floats) -> None:
        """Hold the codes of rows f4[n, d]."""
        from distlsh.kernels.screening import code_rows

        code_rows(weights, self.codes, self.facts, self.starts)

    def block(self, first: int, last: int) -> RowCodes:
        """Return rows [first, last) as views; ``first`` and ``last`` must be at whole tiles, or the end."""
        some = slice(first, last)
        return RowCodes(self.codes[some], self.facts[some], self.starts[some])

    @property
    def n_bytes(self) -> int:
        """Memory of the arrays."""
        return self.codes.nbytes + self.facts.nbytes + self.starts.nbytes


@dataclass(frozen=True, slots=True)
class _Screen:
    """Queries in 8 bits, with the top-k that grows as rows go by; one thread's."""

    hidden: Floats
    scale: float
    panels: NDArray[np.uint8]
    facts: Floats
    scratch: tuple[Floats, Ids] | None  # None: queries one by one
    ids: Ids
    scores: Floats

    @classmethod
    def of(cls, hidden: Floats, scale: float, k: int) -> _Screen:
        from distlsh.kernels.screening import code_queries

        m, d = hidden.shape
        together = QUERIES if m > _FEW else 1
        n_panels = -(-m // together)
        panels = np.empty((n_panels, together * _padded(d)), np.uint8)
        facts = np.empty((3, n_panels * together), np.float32)
        code_queries(hidden, scale, together, panels, facts)
        scratch = np.empty(n_panels * QUERIES, np.float32), np.empty((ROWS, QUERIES), np.int32)
        best = np.full((m, k), -1, np.int32), np.full((m, k), -np.inf, np.float32)
        return cls(hidden, scale, panels, facts, scratch if together > 1 else None, *best)

    def take(self, rows: RowCodes, weights: Floats, bias: Floats, first: int) -> None:
        """Merge labels ``first`` and following."""
        from distlsh.kernels.screening import screen_few, screen_rows

        queries = self.panels, self.facts, self.hidden
        labels = rows.codes, rows.facts, rows.starts, weights, bias, self.scale, first
        if self.scratch is None:
            screen_few(*queries, *labels, self.ids, self.scores)
        else:
            screen_rows(*queries, *labels, *self.scratch, self.ids, self.scores)


def screened_topk(
    hidden: Floats, weights: Floats, bias: Floats, scale: float, k: int, codes: RowCodes | None = None
) -> tuple[Ids, Floats]:
    """Return what `exact_topk` does, of ``bias`` f4[n] or f4[0], in the calling thread alone.

    codes  of ``weights``; None: made block by block, which reads all weights once more

    Allocates the 8-bit queries, the result, and without ``codes`` about 1,024 rows of 8 bits.
    """
    screen, (n, d) = _Screen.of(hidden, scale, k), weights.shape
    scratch = RowCodes.empty(min(n, _CODE_BLOCK), d) if codes is None else None
    for first in range(0, n, _CODE_BLOCK):
        some = slice(first, min(first + _CODE_BLOCK, n))
        if scratch is not None:
            scratch.code(weights[some])
        block = codes.block(first, first + _CODE_BLOCK) if codes is not None else scratch
        assert block is not None
        screen.take(block, weights[some], bias[some], first)
    return screen.ids, screen.scores


def screened_candidates(
    hidden: Floats,
    weights: Floats,
    bias: Floats,
    scale: float,
    k: int,
    rows: RowCodes,
    candidates: Ids,
    counts: Ids,
) -> tuple[Ids, Floats]:
    """Return i4[m, k] and f4[m, k]: each row's best ``candidates`` i4[m, c], at places [0, counts[i]).

    rows  codes of ``weights``; the others as for `screened_topk`
    """
    from distlsh.kernels.screening import code_queries, screen_candidates

    m, d = hidden.shape
    queries, facts = np.empty((m, _padded(d)), np.uint8), np.empty((3, m), np.float32)
    code_queries(hidden, scale, 1, queries, facts)
    ids, scores = np.empty((m, k), np.int32), np.empty((m, k), np.float32)
    coded = rows.codes, rows.facts, rows.starts
    screen_candidates(queries, facts, hidden, *coded, weights, bias, scale, candidates, counts, ids, scores)
    return ids, scores


def merge_parts(parts: list[tuple[Ids, Floats]], k: int) -> tuple[Ids, Floats]:
    """Return the k best of several top-k lists over ascending ranges of labels."""
    ids = np.concatenate([part[0] for part in parts], axis=1)
    scores = np.concatenate([part[1] for part in parts], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)
