"""Hash vectors to one code a table, and queries to the codes worth looking into."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distlsh.errors import ConfigError, ShapeError
from distlsh.kernels.probing import keep_best
from distlsh.lsh import transforms
from distlsh.lsh.families import Family, create, describe
from distlsh.lsh.rows import Floats, Rows, SparseRows, block, n_rows
from distlsh.lsh.spec import HashSpec

__all__ = ["Floats", "Hasher", "Ids"]

Ids = NDArray[np.int32]

_BATCH = 1024
"""Rows transformed at a time: their copies stay in cache."""


_FEW = 2
"""Vectors of a call that are hashed one by one: at two, most families are still faster so than in a block."""


class Hasher:
    """The hash functions of a `HashSpec`, with the scratch of one thread.

    spec        what to hash by
    one_by_one  calls of one or two vectors use kernels for single vectors, which are loaded, and
                where needed compiled, by the first such call; without, all calls use the same ones

    Signs, projections and permutations are made from ``spec.seed`` alone, so they are never
    saved or sent.  The codes of a vector depend neither on the other vectors of a call nor
    on whether it is stored dense or sparse.
    """

    def __init__(self, spec: HashSpec, *, one_by_one: bool = True) -> None:
        self.spec = spec
        self._family = create(spec.hashed)
        self._single: Family | None = None
        self._few = _FEW if one_by_one else 0
        self._info = describe(spec.family)
        self._one_score: Floats = np.zeros((1, spec.n_tables, spec.n_codes), np.float32)
        self._candidates: Floats = np.zeros(spec.n_tables * spec.n_codes, np.float32)

    def codes(
        self,
        rows: Rows,
        out: Ids | None = None,
        center: Floats | None = None,
        max_norm: float | None = None,
    ) -> Ids:
        """Return the code of each row in each table, in ``out`` where given.

        rows      f4[m, n_dims], C order, which others may write meanwhile; or `SparseRows`
        out       i4[m, n_tables], in [0, n_buckets)
        center    f4[n_dims], subtracted from each row before anything else
        max_norm  with a transform: length of the longest of all rows that will be compared; a
                  longer one is shortened to it

        Raises ShapeError for other shapes, TypeError for other dtypes or orders, ConfigError for
        a center that the family cannot use or a missing ``max_norm``.
        """
        m = self._check(rows, center)
        out = self._result(out, (m, self.spec.n_tables))
        if self.spec.transform == "none":
            if m:
                self._family_of(m).codes(rows, center, out)
            return out
        if max_norm is None:
            raise ConfigError(
                f"rows are transformed by {self.spec.transform!r}; give max_norm, the length of the longest "
                "of all rows (distlsh.lsh.transforms.largest_norm)"
            )
        for first in range(0, m, _BATCH):
            some = _moved(block(rows, first, min(first + _BATCH, m)), center)
            some = transforms.rows(self.spec.transform, some, max_norm)
            self._family_of(n_rows(some)).codes(some, None, out[first : first + n_rows(some)])
        return out

    def probes(self, rows: Rows, out: Ids | None = None, center: Floats | None = None) -> Ids:
        """Return each query's code in each table, then its next best codes by ascending score.

        rows    f4[m, n_dims], C order, or `SparseRows`
        out     i4[m, n_tables, spec.n_codes]; EMPTY (-1) where a table has no more buckets to offer
        center  f4[n_dims], subtracted from each row before anything else

        The score of a code is the sum over its hashes of the squared distance by which the
        query missed that value (Lv et al. 2007, section 4.4), or of the steps to it where
        ``spec.probing`` is "step_wise".  Where ``spec.probe_order`` is "global", the best
        n_tables * n_probes of all tables are kept beside each table's own, compared by
        score less the mean score of what their table offers.
        Raises as `codes` does.
        """
        m = self._check(rows, center)
        out = self._result(out, (m, self.spec.n_tables, self.spec.n_codes))
        whole = self.spec.probe_order == "global"
        scores = np.empty(out.shape, np.float32) if whole else self._one_score
        self._probe(rows, center, out, scores)
        return out

    def probes_scored(
        self, rows: Rows, out: Ids | None = None, center: Floats | None = None
    ) -> tuple[Ids, Floats]:
        """Return what `probes` does, and the scores f4[m, n_tables, spec.n_codes]: infinite where EMPTY.

        Their unit is the family's own.
        """
        m = self._check(rows, center)
        out = self._result(out, (m, self.spec.n_tables, self.spec.n_codes))
        scores = np.empty(out.shape, np.float32)
        self._probe(rows, center, out, scores)
        return out, scores

    def _probe(self, rows: Rows, center: Floats | None, out: Ids, scores: Floats) -> None:
        m = len(out)
        if self.spec.transform == "none":
            if m:
                self._choose(rows, center, out, scores)
        else:
            self._probe_transformed(rows, center, out, scores)
        if self.spec.probe_order == "global":
            keep_best(out, scores, self.spec.n_tables * self.spec.n_probes, self._candidates)

    def _probe_transformed(self, rows: Rows, center: Floats | None, out: Ids, scores: Floats) -> None:
        shared = len(scores) != len(out)
        for first in range(0, len(out), _BATCH):
            last = min(first + _BATCH, len(out))
            some = transforms.queries(self.spec.transform, _moved(block(rows, first, last), center))
            self._choose(some, None, out[first:last], scores if shared else scores[first:last])

    def _choose(self, rows: Rows, center: Floats | None, out: Ids, scores: Floats) -> None:
        if self.spec.n_codes > 1:
            self._family_of(len(out)).probes(rows, center, out, scores)
        else:  # the own code alone needs no choice among others
            self._family_of(len(out)).codes(rows, center, out.reshape(out.shape[:2]))
            scores[...] = 0.0

    def _family_of(self, m: int) -> Family:
        """Return the kernels that are the fastest for ``m`` vectors."""
        if m > self._few:
            return self._family
        if self._single is None:
            self._single = self._family.one_by_one()
        return self._single

    def _check(self, rows: Rows, center: Floats | None) -> int:
        n_dims = self.spec.n_dims
        _check_types(rows)
        shape = (rows.n_rows, rows.n_dims) if isinstance(rows, SparseRows) else rows.shape
        if len(shape) != 2 or shape[1] != n_dims:
            raise ShapeError(f"vectors to hash have shape {shape}; this hasher takes (m, {n_dims})")
        if center is not None and center.shape != (n_dims,):
            raise ShapeError(f"the center has shape {center.shape}; it must be ({n_dims},)")
        if center is not None and not self._info.center:
            raise ConfigError(f"{self.spec.family} hashes sets, which have no center; hash without one")
        return n_rows(rows)

    @staticmethod
    def _result(out: Ids | None, shape: tuple[int, ...]) -> Ids:
        if out is None:
            return np.empty(shape, np.int32)
        if out.shape != shape:
            raise ShapeError(f"codes would go to an array of shape {out.shape}; it must be {shape}")
        if out.dtype != np.int32 or not out.flags.c_contiguous:
            raise TypeError(f"codes would go to an array of {out.dtype}; it must be int32 in C order")
        return out


def _check_types(rows: Rows) -> None:
    if isinstance(rows, SparseRows):
        found = [array.dtype.name for array in (rows.indptr, rows.indices, rows.values)]
        if found != ["int64", "int32", "float32"]:
            raise TypeError(f"sparse rows of {', '.join(found)} cannot be hashed; use SparseRows.of(X)")
    elif not isinstance(rows, np.ndarray):
        raise TypeError(f"{type(rows).__name__} cannot be hashed; give a float32 array or SparseRows.of(X)")
    elif rows.dtype != np.float32 or not rows.flags.c_contiguous:
        raise TypeError(
            f"an array of {rows.dtype}, strides {rows.strides}, cannot be hashed; give float32 in C order: "
            "np.ascontiguousarray(X, np.float32)"
        )


def _moved(rows: Rows, center: Floats | None) -> Rows:
    """Return the rows less ``center``."""
    if center is None:
        return rows
    return (rows.dense() if isinstance(rows, SparseRows) else rows) - center
