"""The memory of hash functions, told before they are made, against what they then hold."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from distlsh.lsh import Hasher, HashSpec
from distlsh.lsh.families import FAMILIES, describe
from distlsh.lsh.footprint import hasher_bytes
from distlsh.lsh.rows import SparseRows


def held_bytes(thing, seen):
    """Sum the arrays that an object of this package holds, directly or not, each once."""
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        return held_bytes(thing.base, seen) if thing.base is not None else thing.nbytes
    if isinstance(thing, tuple):
        return sum(held_bytes(item, seen) for item in thing)
    own = type(thing).__module__.startswith("distlsh.lsh") and hasattr(thing, "__dict__")
    return sum(held_bytes(item, seen) for item in vars(thing).values()) if own else 0


@pytest.mark.parametrize("n_dims", [100, 3000, 70_000])
@pytest.mark.parametrize("family", FAMILIES)
def test_hashers_hold_what_was_told(family, n_dims):
    """To within a tenth or 256 KiB, narrow and as wide as a vocabulary, after sparse and dense rows."""
    n_probes = 3 if describe(family).probes else 0
    spec = HashSpec(family, 2, 50, n_probes, n_dims)
    hasher = Hasher(spec, one_by_one=False)
    row = scipy.sparse.csr_array(([1.0], [[0], [5]]), shape=(1, n_dims))
    hasher.codes(SparseRows.of(row))
    hasher.codes(row.toarray().astype(np.float32))
    assert hasher_bytes(spec) == pytest.approx(held_bytes(hasher, set()), rel=0.1, abs=1 << 18)
