"""What `LSHIndex` refuses, and scikit-learn's conventions."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone

import distlsh
from distlsh.errors import ConfigError, DistlshError, NotFittedError, ShapeError, StoreError, UsageError
from tests.lsh.index.index_cases import clusters, whole


@pytest.mark.parametrize("kind", [np.asarray, csr_array])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_what_is_not_finite_as_float32_is_refused_by_place(kind, value):
    """A NaN or an infinity in rows or queries is named with its row and column."""
    X = clusters(30, 6).astype(np.float64)
    index = whole().fit(X)
    X[4, 2] = value
    for call in (whole().fit, index.search, index.add, index.candidates, index.kneighbors):
        with pytest.raises(UsageError, match="row 4, column 2"):
            call(kind(X))


def test_large_finite_values_are_no_infinities():
    """Values whose sum overflows are taken all the same."""
    X = np.full((8, 6), 1e38, np.float32)
    assert len(whole("cosine").fit(X)) == 8


@pytest.mark.parametrize("shape", [(3, 5), (5,), (2, 2, 6), (0, 6)])
def test_queries_of_another_shape_are_refused(shape):
    """Queries of another width, of one or three dimensions, or without rows raise ShapeError."""
    index = whole().fit(clusters(30, 6))
    for call in (index.search, index.add, index.candidates, index.kneighbors):
        with pytest.raises(ShapeError):
            call(np.zeros(shape))


@pytest.mark.parametrize("X", [np.zeros((0, 4)), np.zeros((4, 0)), csr_array((0, 4)), []])
def test_nothing_cannot_be_fitted(X):
    """An array without rows or columns raises ShapeError."""
    with pytest.raises(ShapeError):
        whole().fit(X)


@pytest.mark.parametrize("X", [np.array([["a", "b"]]), np.ones((3, 3), complex), np.array([[None, 1]])])
def test_what_is_not_real_numbers_is_refused(X):
    """Text, objects and complex numbers raise UsageError."""
    with pytest.raises(UsageError, match="real numbers"):
        whole().fit(X)


@pytest.mark.parametrize("k", [0, -1, 2.5, "3", True, None])
def test_k_is_a_whole_number_from_1(k):
    """Anything else is refused."""
    index = whole().fit(clusters(30, 6))
    for call in (index.search, index.kneighbors):
        with pytest.raises(UsageError, match="k is"):
            call(np.zeros((1, 6)), k)


@pytest.mark.parametrize(
    "params", [{"family": "simhash"}, {"metric": "manhattan"}, {"family": "dwta", "metric": "euclidean"}]
)
def test_unknown_and_unfitting_names_are_refused_at_once(params):
    """An unknown family or metric, or a family that does not serve the metric, raises ConfigError."""
    with pytest.raises(ConfigError):
        distlsh.LSHIndex(**params)


@pytest.mark.parametrize(
    "params",
    [
        {"n_hashes": 0},
        {"n_tables": -1},
        {"n_probes": 99},
        {"n_components": -2},
        {"family": "dwta", "n_components": 4},
        {"n_jobs": 0},
        {"max_candidates": -1},
    ],
)
def test_unusable_numbers_are_refused(params):
    """Parameters out of range raise UsageError, at the latest when they are used."""
    with pytest.raises(UsageError):
        whole("cosine", **params).fit(clusters(30, 6)).search(np.ones((1, 6)))


@pytest.mark.parametrize("ids", [[99], [-1], [1, 1], [0.5], [[1, 2]]])
def test_unknown_ids_are_not_removed(ids):
    """Ids that are not in the index, given twice, or no whole numbers raise UsageError and change nothing."""
    index = whole().fit(clusters(30, 6))
    with pytest.raises(UsageError):
        index.remove(ids)
    assert len(index) == 30


def test_an_index_that_holds_nothing_says_so():
    """Before `fit`, everything that needs rows raises an error that is also scikit-learn's kind."""
    index = distlsh.LSHIndex()
    for call in (index.search, index.candidates, index.add, index.remove, index.save):
        with pytest.raises(NotFittedError, match="call fit"):
            call([[0.0]])
    assert issubclass(NotFittedError, (ValueError, AttributeError)) and issubclass(
        NotFittedError, DistlshError
    )
    assert len(index) == 0 and not hasattr(index, "n_features_in_")


def test_an_emptied_index_finds_nothing_and_takes_rows_again():
    """After all rows are removed, searches return padding; rows added are found."""
    X = clusters(20, 6)
    index = whole().fit(X)
    index.remove(np.arange(20))
    assert len(index) == 0 and (index.search(X, 2)[0] == -1).all() and index.candidates(X).nnz == 0
    assert index.add(X[:2]).tolist() == [20, 21]
    assert index.search(X[:1], 1)[0].tolist() == [[20]]


def test_parameters_follow_scikit_learn():
    """`clone`, `get_params` and `set_params` work, fitted attributes appear, and pickles hold the index."""
    X = clusters(60, 6)
    index = distlsh.LSHIndex("fast_srp", n_hashes=3, metric="euclidean").fit(X)
    other = clone(index)
    assert other.get_params() == index.get_params() and len(other) == 0
    assert other.set_params(n_hashes=5).n_hashes == 5
    assert (index.n_features_in_, index.n_samples_fit_, index.spec_.n_hashes) == (6, 60, 3)
    with pytest.raises(UsageError, match="no parameter 'n_trees'"):
        index.set_params(n_trees=3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(index)).search(X, 3)[0], index.search(X, 3)[0])
    assert repr(index) == "LSHIndex(family='fast_srp', n_hashes=3, metric='euclidean')"


def test_statistics_count_what_is_held():
    """Every row lies in one bucket of each table, and bytes are those of the arrays."""
    X = clusters(500, 12)
    index = distlsh.LSHIndex("fast_srp", n_hashes=4, n_tables=3, metric="cosine").fit(X)
    stats = index.stats()
    assert stats.n_rows == 500 and stats.n_buckets == 16 and stats.n_segments == 1
    assert stats.used_share * 3 * 16 * stats.size_mean == pytest.approx(3 * 500)
    assert stats.size_max >= stats.size_seen >= stats.size_mean
    assert stats.n_bytes == index.n_bytes > X.nbytes


@pytest.mark.parametrize("name", ["index.json", "0.rows.npy"])
def test_a_pipe_in_a_saved_index_is_refused_instead_of_waited_for(tmp_path, name):
    """As it may come out of an archive."""
    whole().fit(clusters(30, 6)).save(tmp_path / "index")
    (tmp_path / "index" / name).unlink()
    os.mkfifo(tmp_path / "index" / name)
    with pytest.raises(StoreError, match="no plain file"):
        distlsh.LSHIndex.load(tmp_path / "index")
