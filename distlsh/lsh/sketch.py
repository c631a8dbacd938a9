"""Sketches of the rows: two bits a coordinate, enough to tell near rows from far ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distlsh.errors import ShapeError
from distlsh.kernels._ir import LANES
from distlsh.shm.spec import ArraySpec

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]
Words = NDArray[np.uint64]

WORD = 64
QUERY_PLANES = 4
_ROUNDS = 2

SKETCH_BITS = 2
"""Bits a coordinate.  Measured by ``benchmarks/kernels/sketch.py``: see docs/lsh.md."""

_STEPS = {1: 1.596, 2: 0.9957, 3: 0.586, 4: 0.3352}
"""Best distance of 2**bits evenly spaced values for Gaussian coordinates (Max 1960, table II)."""


class QuerySketch(NamedTuple):
    """What `Sketcher.queries` makes of queries: u8[m, words] of bits and f4[m, 2] of scales."""

    planes: Words
    scales: Floats


def _width(n_dims: int) -> int:
    return max(WORD, 1 << (n_dims - 1).bit_length())


def sketch_spec(n_rows: int, n_dims: int, bits: int = SKETCH_BITS) -> ArraySpec:
    """Return the shared array of the sketches of ``n_rows`` rows f4[n_dims]."""
    words = bits * _width(n_dims) // WORD + 1
    return ArraySpec("tables.sketch", (n_rows, words), "u8", persistent=True, lower="model.hidden")


class Sketcher:
    """Makes and compares sketches of vectors f4[n_dims], with the scratch of one thread.

    The rotation is made from ``seed`` alone.  Source: `kernels.sketch`.
    """

    def __init__(self, n_dims: int, seed: int = 1, bits: int = SKETCH_BITS) -> None:
        # Imported when used: most runs keep no sketches, and load no kernels for them.
        from distlsh.kernels.rotation import fill_signs

        width = _width(n_dims)
        self.n_dims, self.bits = n_dims, bits
        self._words = width // WORD
        self._signs: Floats = np.empty((_ROUNDS, width), np.float32)
        fill_signs(np.uint64((seed ^ 0x5CE7C4) & 0xFFFFFFFFFFFFFFFF), self._signs)
        self._lines: Floats = np.zeros((width, LANES), np.float32)
        self._scratch: Floats = np.zeros((2, LANES), np.float32)
        self._zeros: Floats = np.zeros(n_dims, np.float32)

    def rows(self, vectors: Floats, ids: Ids, center: Floats | None, sketch: Words) -> None:
        """Write the sketches of ``vectors`` f4[m, n_dims], less ``center`` f4[n_dims], to rows ``ids`` i4[m].

        Raises ShapeError where the arrays do not fit each other.
        """
        center = self._zeros if center is None else center
        self._check(vectors, sketch)
        if ids.shape != (len(vectors),) or (len(ids) and (ids.min() < 0 or ids.max() >= len(sketch))):
            raise ShapeError(
                f"{len(vectors)} vectors for ids of shape {ids.shape}; one id a vector, "
                f"each in [0, {len(sketch)}), is needed"
            )
        from distlsh.kernels.sketch import sketch_rows

        step = np.float32(_STEPS[self.bits])
        sketch_rows(
            vectors, center, self._signs, step, self.bits, ids, self._lines, self._scratch, sketch
        )  # fmt: skip

    def queries(self, vectors: Floats) -> QuerySketch:
        """Return what `estimate` needs of ``vectors`` f4[m, n_dims]."""
        from distlsh.kernels.sketch import sketch_queries

        self._check(vectors)
        m = len(vectors)
        planes: Words = np.empty((m, QUERY_PLANES * self._words), np.uint64)
        scales: Floats = np.empty((m, 2), np.float32)
        sketch_queries(vectors, self._zeros, self._signs, self.bits, self._lines, planes, scales)
        return QuerySketch(planes, scales)

    def estimate(self, sketch: Words, queries: QuerySketch, query: int, ids: Ids) -> Floats:
        """Return f4[n]: estimated inner products of one query with the rows ``ids`` i4[n], less their center.

        sketch  u8[n_rows, words], of `sketch_spec`
        """
        from distlsh.kernels.sketch import estimate_rows

        out: Floats = np.empty(len(ids), np.float32)
        estimate_rows(sketch, ids, len(ids), queries.planes, queries.scales, query, out)
        return out

    def _check(self, vectors: Floats, sketch: Words | None = None) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.n_dims:
            raise ShapeError(f"vectors of shape {vectors.shape}; these sketches take (m, {self.n_dims})")
        words = self.bits * self._words + 1
        if sketch is not None and (sketch.ndim != 2 or sketch.shape[1] != words):
            raise ShapeError(f"sketches of shape {sketch.shape}; {self.n_dims} dimensions need (n, {words})")
