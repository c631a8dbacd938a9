"""MinHash: K x L random orders of the dimensions, and which of a set's comes first in each."""

from __future__ import annotations

import numpy as np

from distlsh.kernels.minhash import fill_orders, minhash_codes
from distlsh.lsh.families.base import Ids
from distlsh.lsh.families.lines import aligned, u8
from distlsh.lsh.families.sets import Offsets, SetFamily
from distlsh.lsh.spec import HashSpec


class MinHash(SetFamily):
    """A value is the least place of the set in a random order; empty sets all collide."""

    def __init__(self, spec: HashSpec) -> None:
        super().__init__(spec)
        n_orders = spec.n_tables * spec.n_hashes
        self._seed = u8(spec.seed)
        self._orders = aligned((2, n_orders), np.uint32)
        fill_orders(self._seed, self._orders)
        self._minima = aligned((n_orders,), np.uint32)

    def hash_sets(self, indptr: Offsets, ids: Ids, out: Ids) -> None:
        """Write the codes."""
        spec = self.spec
        minhash_codes(indptr, ids, self._orders, self._seed, spec.n_hashes, spec.code_bits, self._minima, out)
