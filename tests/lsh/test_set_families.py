"""MinHash and one permutation hashing of vectors: which dimensions count, and that storage does not."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from distlsh.errors import ConfigError
from distlsh.lsh import Hasher, HashSpec
from distlsh.lsh.families.sets import members
from distlsh.lsh.rows import SparseRows

FAMILIES = ("minhash", "doph")


def vectors(m=700, d=900, seed=0):
    random = np.random.default_rng(seed)
    return (random.standard_normal((m, d)) * (random.random((m, d)) < 0.05)).astype(np.float32)


def hasher(family, d=900, **changes):
    return Hasher(HashSpec(family, **{"n_hashes": 2, "n_tables": 12, "n_probes": 0, "n_dims": d, **changes}))


@pytest.mark.parametrize("family", FAMILIES)
def test_only_which_dimensions_are_not_zero_counts(family):
    """Values, stored zeros and the kind of storage change nothing; more rows than a block."""
    X = vectors()
    X[5] = 0
    wanted = hasher(family).codes(X)
    sparse = SparseRows.of(sp.csr_array(X))
    np.testing.assert_array_equal(hasher(family).codes(np.sign(X) * 7), wanted)
    np.testing.assert_array_equal(hasher(family).codes(sparse), wanted)
    np.testing.assert_array_equal(hasher(family).codes(X[:9][::-1].copy()), wanted[:9][::-1])
    zeros = sparse.values.copy()
    dropped = np.arange(0, len(zeros), 7)
    zeros[dropped] = 0
    with_zeros = sparse._replace(values=zeros)
    np.testing.assert_array_equal(hasher(family).codes(with_zeros), hasher(family).codes(with_zeros.dense()))
    np.testing.assert_array_equal(
        hasher(family).codes(with_zeros.block(100, 300)), hasher(family).codes(with_zeros)[100:300]
    )


def test_members_of_a_block_with_stored_zeros():
    """By hand: rows {1}, {} and {0, 2} of a block that starts in the middle."""
    rows = SparseRows(
        np.array([0, 2, 4, 4, 7]),
        np.array([0, 1, 0, 1, 0, 1, 2], np.int32),
        np.float32([5, 5, 0, 1, 1, 0, 1]),
        3,
    )
    indptr, ids = members(rows.block(1, 4))
    assert indptr.tolist() == [0, 1, 1, 3] and ids.tolist() == [1, 0, 2]


@pytest.mark.parametrize("family", FAMILIES)
def test_codes_stay_in_their_buckets_and_probes_are_the_codes(family):
    """2**code_bits buckets, all of them used; a query has its own bucket alone, at score 0."""
    made = hasher(family, code_bits=5)
    codes = made.codes(vectors())
    assert made.spec.n_buckets == 32 and set(codes[:, 0]) == set(range(32))
    probes, scores = made.probes_scored(vectors())
    np.testing.assert_array_equal(probes[:, :, 0], codes)
    assert probes.shape == (700, 12, 1) and not scores.any()


@pytest.mark.parametrize("family", FAMILIES)
def test_sets_have_no_probes_no_center_and_no_transform(family):
    """ConfigErrors that name what to change."""
    with pytest.raises(ConfigError, match=r"lsh\.n_probes .*set it to 0"):
        hasher(family, n_probes=1)
    with pytest.raises(ConfigError, match=r"lsh\.transform .*set it to none"):
        hasher(family, transform="simple")
    with pytest.raises(ConfigError, match="no center"):
        hasher(family).codes(vectors(), center=np.zeros(900, np.float32))
