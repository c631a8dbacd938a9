"""Vectors that no one means, and sparse arrays that do not fit themselves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from distlsh.data import Dataset
from distlsh.errors import ShapeError, UsageError
from distlsh.evaluation.features import FeatureRows
from distlsh.lsh import Hasher, HashSpec
from distlsh.lsh.index import LSHIndex
from distlsh.lsh.rows import SparseRows

SPECS = {
    "cross_polytope": {"n_hashes": 2, "dim": 16, "n_probes": 3},
    "fast_srp": {"n_hashes": 5, "n_probes": 3},
    "srp": {"n_hashes": 5, "n_probes": 3},
    "sparse_srp": {"n_hashes": 5, "n_probes": 3},
    "wta": {"n_hashes": 3, "bin_size": 8, "n_probes": 3},
    "dwta": {"n_hashes": 3, "bin_size": 8, "n_probes": 3},
    "l2": {"n_hashes": 3, "code_bits": 8, "n_probes": 3},
    "minhash": {"n_hashes": 2, "code_bits": 8, "n_probes": 0},
    "doph": {"n_hashes": 2, "code_bits": 8, "n_probes": 0},
}
ODD = (np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, -0.0, 0.0)


@pytest.mark.parametrize("family", SPECS)
def test_codes_lie_in_range_whatever_the_vector(family):
    """NaN, infinities, the largest and the smallest numbers, and nothing at all hash to real buckets.

    Weights may hold any of them while workers change rows; tables index with the codes.
    """
    spec = HashSpec(family, n_tables=4, n_dims=20, seed=3, **SPECS[family])
    random = np.random.default_rng(0)
    rows = random.standard_normal((64, 20)).astype(np.float32)
    rows[random.random(rows.shape) < 0.5] = 0
    for i in range(48):
        rows[i, random.random(20) < random.choice([0.05, 0.5, 1.0])] = random.choice(ODD)
    hasher = Hasher(spec)
    with np.errstate(all="ignore"):
        found = [hasher.codes(rows), hasher.probes(rows), hasher.codes(rows[:1]), hasher.probes(rows[:1])]
    for codes in found:
        assert codes.min() >= -1 and codes.max() < spec.n_buckets


def broken(what: str) -> csr_array:
    matrix = csr_array(np.eye(4, 6, dtype=np.float32))
    if what == "column":
        matrix.indices[2] = 6
    elif what == "negative":
        matrix.indices[1] = -1
    elif what == "falls":
        matrix.indptr[2] = 0
    else:
        matrix.indptr[-1] = 9
    return matrix


@pytest.mark.parametrize("what", ["column", "negative", "falls", "beyond"])
def test_sparse_arrays_that_do_not_fit_themselves_are_refused(what):
    """SciPy does not look at indices unless asked, and its own methods trust them."""
    index = LSHIndex(n_jobs=1).fit(np.random.default_rng(0).standard_normal((20, 6)))
    calls = (
        lambda: SparseRows.of(broken(what)),
        lambda: Dataset.from_csr(broken(what)),
        lambda: Dataset.from_csr(np.ones((4, 2)), broken(what)),
        lambda: FeatureRows(broken(what), 6).block(0, 4),
        lambda: index.search(broken(what), 2),
    )
    for call in calls:
        with pytest.raises(ShapeError, match="indices do not fit"):
            call()


@pytest.mark.parametrize("sparse", [True, False])
def test_long_vectors_are_indexed_or_refused_with_what_to_do(sparse):
    """Products of vectors of length 1e18 overflow float32; differences of those of 3e38 do."""
    rows = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32) * np.float32(1e18)
    rows[::2] *= -1
    given = csr_array(rows) if sparse else rows
    ids, _ = LSHIndex(metric="euclidean", n_jobs=1).fit(given).search(given, 1)
    assert (ids[:, 0] == np.arange(50)).all()
    with np.errstate(all="ignore"):
        longest = np.sign(rows) * np.float32(3.4e38)
        try:
            LSHIndex(metric="euclidean", n_jobs=1).fit(csr_array(longest) if sparse else longest)
        except UsageError as error:
            assert "scale them down" in str(error)


@pytest.mark.parametrize("sparse", [True, False])
def test_the_shortest_vectors_there_are_have_a_direction(sparse):
    """One over the length of a vector of denormal numbers overflows float32; its direction does not."""
    rows = np.zeros((6, 6), np.float32)
    np.fill_diagonal(rows, 1e-45)
    given = csr_array(rows) if sparse else rows
    ids, scores = LSHIndex(n_jobs=1).fit(given).search(given, 1)
    assert (ids[:, 0].tolist(), scores[:, 0].tolist()) == (list(range(6)), [1.0] * 6)
