"""From stored vectors to codes and sketches: what an index learned when it was fitted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.kernels.index_sketch import BIAS, LINE, write_queries, write_sketches
from distlsh.lsh import transforms
from distlsh.lsh.hasher import Hasher, Ids
from distlsh.lsh.index import arrays
from distlsh.lsh.index.projection import Projection
from distlsh.lsh.rows import Floats, Rows, SparseRows
from distlsh.lsh.spec import HashSpec

FIRST = LINE - BIAS
"""Components in a first sketch: what one cache line holds."""

SECOND = 2 * LINE - BIAS
"""Components in a second sketch, at most."""

_SPARED = 16
"""So few components more do not repay a second line."""


def sketch_bytes(n_components: int) -> tuple[int, int]:
    """Return the bytes of a row's first and second sketch of so many components."""
    if n_components <= FIRST:
        return (LINE, 0) if n_components else (0, 0)
    return LINE, LINE if n_components - FIRST <= FIRST + _SPARED else 2 * LINE


def set_bytes(n_dims: int) -> int:
    """Return the bytes of a set of ``n_dims`` possible members as bits, its size behind them."""
    return LINE * -(-(-(-n_dims // 8) + BIAS) // LINE)


@dataclass(frozen=True)
class Encoder:
    """How vectors become codes and sketches.

    spec        of the hash functions; its ``n_dims`` are the projected ones where there is a projection
    metric      of the index
    max_norm    length of the longest row when fitted, for metric dot
    center      f4[n_dims], subtracted from rows before hashing, where there is no projection
    projection  directions of sketches, of which the first ``spec.n_dims`` are hashed; None: rows are
                hashed as they are, without sketches
    scale       int8 steps a unit of a component; 0: no sketches
    set_bytes   of a set kept as bits, for metric jaccard; 0: sets are kept by their members alone
    """

    spec: HashSpec
    metric: str
    max_norm: float = 0.0
    center: Floats | None = None
    projection: Projection | None = None
    scale: float = 1.0
    set_bytes: int = 0
    _idle: dict[HashSpec, list[Hasher]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def query_center(self) -> Floats | None:
        """What is subtracted from queries: nothing for inner products, which a row's shift orders alike."""
        return None if self.metric == "dot" else self.center

    @property
    def sketch_bytes(self) -> tuple[int, int]:
        """Bytes of a row's first and second sketch; 0: none.  Of sets kept as bits these are the first."""
        if self.set_bytes:
            return self.set_bytes, 0
        sketched = self.projection is not None and self.scale > 0
        return sketch_bytes(self.projection.vectors.shape[1] if self.projection and sketched else 0)

    @property
    def n_bytes(self) -> int:
        """Bytes of the arrays."""
        center = 0 if self.center is None else self.center.nbytes
        return center + (self.projection.n_bytes if self.projection is not None else 0)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_idle": {}}

    def components(self, rows: Rows) -> Floats | None:
        """Return the components of stored rows; None without a projection."""
        return self._project(rows, queries=False)

    def query_components(self, queries: Rows) -> Floats | None:
        """Return the components of queries; None without a projection."""
        return self._project(queries, queries=True)

    def codes(self, rows: Rows, components: Floats | None, out: Ids) -> None:
        """Write the codes i4[m, n_tables] of stored rows, whose components are given."""
        with self._hasher(0) as hasher:
            if components is not None:
                hasher.codes(self._hashed(components), out)
            else:
                hasher.codes(rows, out, self.center)

    def probes(self, queries: Rows, components: Floats | None, n_probes: int) -> Ids:
        """Return the buckets i4[m, n_tables, n_codes] of queries."""
        with self._hasher(n_probes) as hasher:
            if components is not None:
                return hasher.probes(self._hashed(components))
            return hasher.probes(queries, center=self.query_center)

    def write_sketches(
        self, rows: Rows, components: Floats | None, sketches: NDArray[np.int8], details: NDArray[np.int8]
    ) -> None:
        """Write the sketches i1[m, w] of rows, whose components are given."""
        if components is not None and sketches.shape[1]:
            by_distance = int(self.metric != "dot")
            write_sketches(components, 0, np.float32(self.scale), by_distance, sketches)
            if details.shape[1]:
                write_sketches(components, FIRST, np.float32(self.scale), by_distance, details)
        elif self.set_bytes and isinstance(rows, SparseRows):
            from distlsh.kernels.index_sets import write_sets  # compiled only where it is used

            write_sets(rows.indptr, rows.indices, 1, sketches)

    def query_sketches(
        self, components: Floats | None, m: int
    ) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """Return queries i2[m, w] as both sketches are compared with; no columns where there are none."""
        first, second = (arrays.empty((m, width), np.int16) for width in self.sketch_bytes)
        if components is not None and self.projection is not None and first.shape[1]:
            if self.metric == "dot":
                # Products with rows less their mean are those of queries as they are.
                components = components + self.projection.offset
            write_queries(components, 0, np.float32(self.scale), first)
            if second.shape[1]:
                write_queries(components, FIRST, np.float32(self.scale), second)
        return first, second

    def _project(self, rows: Rows, queries: bool) -> Floats | None:
        if self.projection is None:
            return None
        if self.metric == "dot":
            rows = (
                transforms.queries("simple", rows)
                if queries
                else transforms.rows("simple", rows, self.max_norm or 1.0)
            )
        return self.projection(rows)

    def _hashed(self, components: Floats) -> Floats:
        return np.ascontiguousarray(components[:, : self.spec.n_dims])

    @contextmanager
    def _hasher(self, n_probes: int) -> Iterator[Hasher]:
        """Lend a hasher, which has the scratch of one thread."""
        spec = replace(self.spec, n_probes=n_probes)
        idle = self._idle.setdefault(spec, [])
        try:
            hasher = idle.pop()
        except IndexError:
            hasher = Hasher(spec)
        try:
            yield hasher
        finally:
            idle.append(hasher)
