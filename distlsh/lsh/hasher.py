"""Hash vectors to one code a table, and queries to the codes worth looking into."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from distlsh.errors import ShapeError
from distlsh.kernels.cross_polytope import cross_polytope_codes, cross_polytope_probes
from distlsh.kernels.dwta import dwta_codes, dwta_probes, fill_bins
from distlsh.kernels.lanes import LANES, MAX_TOP
from distlsh.kernels.rotation import MIN_WIDTH, N_OWN, N_SHARED, fill_signs
from distlsh.kernels.srp import srp_codes, srp_probes
from distlsh.lsh.spec import HashSpec

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return zeros that start a cache line, so that no line of 16 lanes straddles two."""
    size = int(np.prod(shape))
    raw = np.zeros(size + LANES, dtype)
    start = (-raw.ctypes.data % 64) // raw.itemsize
    return raw[start : start + size].reshape(shape)


def _u8(number: int) -> np.uint64:
    return np.uint64(number & 0xFFFFFFFFFFFFFFFF)


class _Family(Protocol):
    def codes(self, rows: Floats, center: Floats, out: Ids) -> None: ...

    def probes(self, rows: Floats, center: Floats, out: Ids) -> None: ...


class _Rotations:
    """Signs and scratch of the families that read coordinates off rotations."""

    def __init__(self, spec: HashSpec, coordinates_per_hash: int) -> None:
        padded = 1 << (spec.n_dims - 1).bit_length()
        self.width = max(MIN_WIDTH, padded, coordinates_per_hash)
        needed = spec.n_tables * spec.n_hashes * coordinates_per_hash
        n_rotations = -(-needed // self.width)
        self.signs: Floats = np.empty((N_SHARED + N_OWN * n_rotations, self.width), np.float32)
        fill_signs(_u8(spec.seed), self.signs)
        self.lines = aligned((self.width, LANES), np.float32)
        self.turned = aligned((self.width, LANES), np.float32)


class _CrossPolytope:
    def __init__(self, spec: HashSpec) -> None:
        blocks = spec.n_tables * spec.n_hashes
        self._spec = spec
        self._turns = _Rotations(spec, spec.dim)
        self._keys = aligned((2 + MAX_TOP + blocks * spec.n_choices, LANES), np.uint32)
        self._costs = np.zeros((spec.n_hashes, spec.n_choices), np.float32)
        self._digits = np.zeros((spec.n_hashes, spec.n_choices), np.int32)
        self._totals = np.zeros((2, 1 + spec.n_probes), np.float32)
        self._codes = np.zeros((2, 1 + spec.n_probes), np.int32)

    def codes(self, rows: Floats, center: Floats, out: Ids) -> None:
        turns, spec = self._turns, self._spec
        cross_polytope_codes(
            rows, center, turns.signs, spec.dim, spec.n_hashes, turns.lines, turns.turned, self._keys, out
        )

    def probes(self, rows: Floats, center: Floats, out: Ids) -> None:
        turns = self._turns
        scratch = (self._keys, self._costs, self._digits, self._totals, self._codes)
        cross_polytope_probes(
            rows, center, turns.signs, self._spec.dim, turns.lines, turns.turned, *scratch, out
        )


class _Srp:
    def __init__(self, spec: HashSpec) -> None:
        self._spec = spec
        self._turns = _Rotations(spec, 1)
        self._bits = aligned((spec.n_tables, LANES), np.int32)
        self._coordinates = aligned((spec.n_tables * spec.n_hashes, LANES), np.float32)
        self._margins = np.zeros(spec.n_hashes, np.float32)
        self._totals = np.zeros((3, 1 + spec.n_probes), np.float32)
        self._codes = np.zeros((3, 1 + spec.n_probes), np.int32)

    def codes(self, rows: Floats, center: Floats, out: Ids) -> None:
        turns = self._turns
        srp_codes(rows, center, turns.signs, self._spec.n_hashes, turns.lines, turns.turned, self._bits, out)

    def probes(self, rows: Floats, center: Floats, out: Ids) -> None:
        turns = self._turns
        scratch = (turns.lines, turns.turned, self._coordinates, self._margins, self._totals, self._codes)
        srp_probes(rows, center, turns.signs, *scratch, out)


class _Dwta:
    def __init__(self, spec: HashSpec) -> None:
        n_bins = spec.n_tables * spec.n_hashes
        self._spec = spec
        self._seed = _u8(spec.seed)
        self._bins: Ids = np.empty((n_bins, spec.bin_size), np.int32)
        fill_bins(self._seed, spec.n_dims, np.empty(spec.n_dims, np.int32), self._bins)
        self._lines = aligned((spec.n_dims + 1, LANES), np.float32)
        self._keys = aligned((1 + MAX_TOP + n_bins * spec.n_choices, LANES), np.uint32)
        self._costs = np.zeros((spec.n_hashes, spec.n_choices), np.float32)
        self._digits = np.zeros((spec.n_hashes, spec.n_choices), np.int32)
        self._totals = np.zeros((2, 1 + spec.n_probes), np.float32)
        self._codes = np.zeros((2, 1 + spec.n_probes), np.int32)

    def codes(self, rows: Floats, center: Floats, out: Ids) -> None:
        dwta_codes(rows, center, self._bins, self._spec.n_hashes, self._seed, self._lines, self._keys, out)

    def probes(self, rows: Floats, center: Floats, out: Ids) -> None:
        scratch = (self._lines, self._keys, self._costs, self._digits, self._totals, self._codes)
        dwta_probes(rows, center, self._bins, self._seed, *scratch, out)


_FAMILIES: dict[str, type[_CrossPolytope] | type[_Srp] | type[_Dwta]] = {
    "cross_polytope": _CrossPolytope,
    "srp": _Srp,
    "dwta": _Dwta,
}


class Hasher:
    """The hash functions of a `HashSpec`, with the scratch of one thread.

    Signs and permutations are made from ``spec.seed`` alone, so they are never saved
    or sent.  The codes of a vector do not depend on the other vectors of a call.
    """

    def __init__(self, spec: HashSpec) -> None:
        self.spec = spec
        self._family: _Family = _FAMILIES[spec.family](spec)
        self._origin: Floats = np.zeros(spec.n_dims, np.float32)

    def codes(self, rows: Floats, out: Ids | None = None, center: Floats | None = None) -> Ids:
        """Return the code of each row in each table, in ``out`` where given.

        rows    f4[m, n_dims], C order; may be written by others meanwhile
        out     i4[m, n_tables], in [0, n_buckets)
        center  f4[n_dims], subtracted from each row

        Raises ShapeError for other shapes, TypeError for other dtypes or orders.
        """
        m = self._check(rows, center)
        out = self._result(out, (m, self.spec.n_tables))
        if m:
            self._family.codes(rows, self._origin if center is None else center, out)
        return out

    def probes(self, rows: Floats, out: Ids | None = None, center: Floats | None = None) -> Ids:
        """Return each query's code in each table, then its next best codes by ascending score.

        rows    f4[m, n_dims], C order
        out     i4[m, n_tables, 1 + n_probes]; EMPTY (-1) where a table has no more buckets to offer
        center  f4[n_dims], subtracted from each row

        The score of a code is the sum over its hashes of the squared distance by which
        the query missed that value (Lv et al. 2007, section 4.4).
        Raises ShapeError for other shapes, TypeError for other dtypes or orders.
        """
        m = self._check(rows, center)
        out = self._result(out, (m, self.spec.n_tables, 1 + self.spec.n_probes))
        if m:
            self._family.probes(rows, self._origin if center is None else center, out)
        return out

    def _check(self, rows: Floats, center: Floats | None) -> int:
        n_dims = self.spec.n_dims
        if rows.ndim != 2 or rows.shape[1] != n_dims:
            raise ShapeError(f"vectors to hash have shape {rows.shape}; this hasher takes (m, {n_dims})")
        if center is not None and center.shape != (n_dims,):
            raise ShapeError(f"the center has shape {center.shape}; it must be ({n_dims},)")
        return len(rows)

    @staticmethod
    def _result(out: Ids | None, shape: tuple[int, ...]) -> Ids:
        if out is None:
            return np.empty(shape, np.int32)
        if out.shape != shape:
            raise ShapeError(f"codes would go to an array of shape {out.shape}; it must be {shape}")
        return out
