"""From stored vectors to codes and sketches: what an index learned when it was fitted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.kernels.index_sketch import RECORD, write_queries, write_records
from distlsh.lsh import transforms
from distlsh.lsh.hasher import Hasher, Ids
from distlsh.lsh.index import arrays
from distlsh.lsh.index.projection import Projection
from distlsh.lsh.rows import Floats, Rows
from distlsh.lsh.spec import HashSpec


@dataclass(frozen=True)
class Encoder:
    """How vectors become codes and sketches.

    spec        of the hash functions; its ``n_dims`` are the projected ones where there is a projection
    metric      of the index
    max_norm    length of the longest row when fitted, for metric dot
    center      f4[n_dims], subtracted before hashing, where there is no projection
    projection  directions of sketches, of which the first ``spec.n_dims`` are hashed; None: rows are
                hashed as they are, without sketches
    scale       int8 steps a unit of a component
    """

    spec: HashSpec
    metric: str
    max_norm: float = 0.0
    center: Floats | None = None
    projection: Projection | None = None
    scale: float = 1.0
    _idle: dict[HashSpec, list[Hasher]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def record_bytes(self) -> int:
        """Bytes of a sketch; 0 without sketches."""
        return RECORD if self.projection is not None else 0

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
                hasher.codes(rows, out, self.center, max_norm=self.max_norm or None)

    def probes(self, queries: Rows, components: Floats | None, n_probes: int) -> Ids:
        """Return the buckets i4[m, n_tables, n_codes] of queries."""
        with self._hasher(n_probes) as hasher:
            if components is not None:
                return hasher.probes(self._hashed(components))
            return hasher.probes(queries, center=self.center)

    def write_records(self, components: Floats, out: NDArray[np.int8]) -> None:
        """Write the sketches i1[m, 64] of rows."""
        write_records(components, np.float32(self.scale), out)

    def sketches(self, components: Floats | None, m: int) -> NDArray[np.int16]:
        """Return queries i2[m, 64] as sketches are compared with; i2[m, 0] without."""
        out = arrays.empty((m, self.record_bytes), np.int16)
        if components is not None:
            write_queries(components, np.float32(self.scale), out)
        return out

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
