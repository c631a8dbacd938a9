"""Densified one permutation hashing: MinHash from one random order of the dimensions."""

from __future__ import annotations

import numpy as np

from distlsh.kernels.doph import doph_codes
from distlsh.lsh.families.base import Ids
from distlsh.lsh.families.borrowing import Borrowing
from distlsh.lsh.families.lines import u8
from distlsh.lsh.families.sets import Offsets, SetFamily
from distlsh.lsh.spec import HashSpec


class Doph(SetFamily):
    """A value is the least place of the set in one bin of an order; empty bins borrow, empty sets collide."""

    def __init__(self, spec: HashSpec) -> None:
        super().__init__(spec)
        n_bins = spec.n_tables * spec.n_hashes
        self._seed = u8(spec.seed)
        self._borrowing = Borrowing.of(spec.seed, n_bins)
        self._scratch = np.empty(n_bins, np.uint32), np.empty(n_bins, np.uint32)

    def hash_sets(self, indptr: Offsets, ids: Ids, out: Ids) -> None:
        """Write the codes."""
        spec = self.spec
        scratch = (*self._borrowing, *self._scratch)
        doph_codes(indptr, ids, self._seed, spec.n_hashes, spec.code_bits, *scratch, out)
