"""`LSHIndex` with metric jaccard: sets as bits or by their members, dense or sparse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, hstack

import distlsh
from tests.lsh.index.index_cases import all_scores, best, sets, whole_sets


def widened(X):
    """The same sets among so many possible members that bits do not pay."""
    return csr_array(hstack([csr_array(X), csr_array((len(X), 60_000))]))


@pytest.mark.parametrize("kind", [np.asarray, csr_array, widened])
@pytest.mark.parametrize("family", ["minhash", "doph"])
def test_similarities_are_exact_where_all_sets_are_candidates(family, kind):
    """Ids and scores are those of brute force, whichever way sets are given and kept."""
    X, Q = sets(300, 90), sets(30, 90, seed=1)
    index = whole_sets(family=family).fit(kind(X))
    ids, scores = index.search(kind(Q), 8)
    wanted_ids, wanted = best("jaccard", Q, X, 8)
    np.testing.assert_allclose(scores, wanted, rtol=1e-6)
    np.testing.assert_array_equal(ids, wanted_ids)


@pytest.mark.parametrize("kind", [np.asarray, widened])
def test_empty_sets_are_equal_to_one_another_alone(kind):
    """The empty set has similarity 1 with itself and 0 with all others; no score is a NaN."""
    X = np.eye(12, dtype=np.uint8)
    X[3] = 0
    ids, scores = whole_sets().fit(kind(X)).search(kind(X[3:5]), 1)
    assert ids.tolist() == [[3], [4]] and scores.tolist() == [[1.0], [1.0]]
    _, others = whole_sets().fit(kind(X)).search(kind(X[3:4]), 5)
    np.testing.assert_array_equal(others[0, 1:][np.isfinite(others[0, 1:])], 0.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 25), st.integers(1, 700), st.integers(0, 2**32 - 1))
def test_sets_of_any_width_as_bits(n, d, seed):
    """Widths on and off the bytes, words and lines of the bits give the right similarities."""
    random = np.random.default_rng(seed)
    X, Q = random.random((n, d)) < 0.5, random.random((2, d)) < 0.5
    ids, scores = whole_sets(n_tables=80).fit(X).search(Q, n)
    exact = all_scores("jaccard", Q, X)
    found = ids >= 0
    np.testing.assert_allclose(scores[found], np.take_along_axis(exact, ids * found, 1)[found], rtol=1e-6)
    assert found.mean() > 0.99


def test_values_other_than_zero_are_members():
    """What the members' values are does not matter; a stored zero is no member."""
    X = sets(80, 40)
    scaled = csr_array(X * np.float64(-2.5))
    scaled.data[0] = 0.0
    X[0, scaled.indices[0]] = 0
    for ours, theirs in zip(
        whole_sets().fit(scaled).search(X, 5), whole_sets().fit(X).search(X, 5), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", [np.asarray, widened])
def test_sets_are_added_removed_saved_and_loaded(tmp_path, kind):
    """An index of sets changes and survives a file as one of vectors does."""
    X, Q = sets(200, 90), sets(20, 90, seed=1)
    index = whole_sets().fit(kind(X[:150]))
    index.add(kind(X[150:]))
    index.remove(np.arange(60))
    index.save(tmp_path / "sets")
    for some in (index, distlsh.LSHIndex.load(tmp_path / "sets")):
        ids, scores = some.search(kind(Q), 6)
        wanted_ids, wanted = best("jaccard", Q, X[60:], 6)
        np.testing.assert_allclose(scores, wanted, rtol=1e-6)
        np.testing.assert_array_equal(ids, wanted_ids + 60)


def test_default_settings_find_similar_sets():
    """With nothing chosen by the user, the nearest of sets in groups are found without looking at all."""
    X, Q = sets(4000, 200), sets(60, 200, seed=1)
    index = distlsh.LSHIndex(metric="jaccard").fit(X)
    _, scores = index.search(Q, 5)
    assert scores.mean() > 0.95 * best("jaccard", Q, X, 5)[1].mean()
    assert index.candidates(Q).nnz < 0.5 * len(Q) * len(X)
