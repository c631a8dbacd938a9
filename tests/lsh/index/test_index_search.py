"""`LSHIndex.search`, `candidates` and `kneighbors` against brute force."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array, csr_matrix
from sklearn.neighbors import NearestNeighbors

import distlsh
from tests.lsh.index.index_cases import METRICS, all_scores, best, clusters, recall, whole


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("components", [0, 8])
@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_exact_where_all_rows_are_candidates(metric, components, kind):
    """With every bucket read and every row scored, ids and scores are those of brute force."""
    X, Q = clusters(300, 24), clusters(40, 24, seed=1)
    X[X < 0] = 0.0  # so that sparse rows have something to leave out
    given_, asked = (X, Q) if kind == "dense" else (csr_array(X), csr_array(Q))
    ids, scores = whole(metric, n_components=components).fit(given_).search(asked, 7)
    _, wanted = best(metric, Q, X, 7)
    np.testing.assert_allclose(scores, wanted, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(np.take_along_axis(all_scores(metric, Q, X), ids, 1), wanted, atol=2e-4)
    assert ids.dtype == np.int64 and scores.dtype == np.float32


@pytest.mark.parametrize("metric", METRICS)
def test_default_settings_find_most_neighbours(metric):
    """With nothing chosen by the user, most of the 10 nearest of clustered vectors are found."""
    X, Q = clusters(6000, 40, n_clusters=200), clusters(200, 40, seed=1, n_clusters=200)
    index = distlsh.LSHIndex(metric=metric).fit(X)
    ids, _ = index.search(Q, 10)
    assert recall(ids, best(metric, Q, X, 10)[0]) > 0.8
    # Not because everything was looked at.
    assert index.candidates(Q).nnz < 0.35 * len(Q) * len(X)


@pytest.mark.parametrize("family", ["srp", "sparse_srp", "fast_srp", "l2", "cross_polytope", "wta", "dwta"])
def test_every_family_serves_an_index(family):
    """Each family finds most neighbours of clustered vectors, dense and sparse, with its own defaults."""
    metric = "cosine" if family in ("wta", "dwta") else "euclidean"
    X, Q = clusters(1500, 32), clusters(40, 32, seed=1)
    for kind in (np.asarray, csr_array):
        ids, _ = distlsh.LSHIndex(family, metric=metric).fit(kind(X)).search(kind(Q), 5)
        assert recall(ids, best(metric, Q, X, 5)[0]) > 0.6


def test_sketches_choose_what_is_scored():
    """Reranking few candidates of best sketches finds what scoring all of them finds."""
    X, Q = clusters(3000, 60, n_clusters=50), clusters(100, 60, seed=1, n_clusters=50)
    index = whole(n_components=20).fit(X)
    exact, few = index.search(Q, 5)[0], index.search(Q, 5, n_rerank=40)[0]
    assert recall(few, exact) > 0.95
    assert recall(index.search(Q, 5, n_rerank=5)[0], exact) > 0.3  # and far above chance with none to spare


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_any_small_shape_is_searched_exactly(n, d, k, seed):
    """Whatever the numbers of rows, dimensions and neighbours, results are right and padded."""
    random = np.random.default_rng(seed)
    X, Q = random.standard_normal((n, d)), random.standard_normal((3, d))
    ids, scores = whole("euclidean", n_components=0).fit(X).search(Q, k)
    found = min(n, k)
    _, wanted = best("euclidean", Q, X, found)
    np.testing.assert_allclose(scores[:, :found], wanted, rtol=1e-3, atol=1e-3)
    assert (ids[:, found:] == -1).all() and np.isposinf(scores[:, found:]).all()
    assert all(len(set(row[:found])) == found for row in ids.tolist())


def test_results_beyond_the_candidates_are_padded():
    """Places without a row hold -1, and the score that is worse than any."""
    X = clusters(3, 8)
    ids, scores = whole("cosine").fit(X).search(X, 5)
    assert (ids[:, 3:] == -1).all() and np.isneginf(scores[:, 3:]).all()
    assert sorted(ids[0, :3]) == [0, 1, 2]


def test_equal_rows_come_by_lower_id():
    """Of rows with equal scores, the lower ids are returned, ascending."""
    ids, _ = whole(n_components=0).fit(np.ones((9, 4))).search(np.zeros((1, 4)), 4)
    assert ids.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("kind", [csr_matrix, coo_array])
def test_sparse_input_of_any_format_equals_dense(kind):
    """Queries may be dense or sparse whatever the rows are, and give the same."""
    X, Q = clusters(200, 16), clusters(20, 16, seed=1)
    index = whole("cosine").fit(X)
    np.testing.assert_array_equal(index.search(kind(Q), 5)[0], index.search(Q, 5)[0])
    sparse = whole("cosine").fit(kind(X))
    np.testing.assert_array_equal(sparse.search(Q, 5)[0], sparse.search(kind(Q), 5)[0])


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.uint8, np.bool_])
def test_any_real_type_is_taken(dtype):
    """Vectors of any type of real numbers are converted once, and the caller's array is left alone."""
    X = np.abs(clusters(60, 8) * 20).astype(dtype)
    before = X.copy()
    index = whole("dot").fit(X)
    index.search(X, 3)
    np.testing.assert_array_equal(X, before)
    X[:] = 0
    assert (index.search(before, 1)[1] > 0).all()


def test_candidates_are_the_ids_of_the_buckets():
    """All rows are candidates where all buckets are read; with a budget, so many; search finds only these."""
    X, Q = clusters(500, 16), clusters(30, 16, seed=1)
    index = whole().fit(X)
    assert (index.candidates(Q).toarray() == 1).all()
    some = index.candidates(Q, max_candidates=50)
    assert some.shape == (30, 500) and (np.diff(some.indptr) == 50).all() and some.has_sorted_indices
    ids, _ = index.search(Q, 60, max_candidates=50)
    for row in range(30):
        assert set(ids[row, :50]) == set(some.indices[some.indptr[row] : some.indptr[row + 1]])
        assert (ids[row, 50:] == -1).all()


def test_more_probes_never_lose_a_candidate():
    """The buckets of few probes are among those of more."""
    X, Q = clusters(2000, 30), clusters(50, 30, seed=1)
    index = distlsh.LSHIndex(metric="euclidean", dim=16, n_hashes=2).fit(X)
    few, more = (index.candidates(Q, n_probes=n).astype(int) for n in (1, 6))
    assert more.nnz > few.nnz
    assert few.multiply(more).nnz == few.nnz


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_kneighbors_equals_scikit_learns_brute_force(metric):
    """Distances and ids are scikit-learn's, for queries given and for the rows themselves."""
    X, Q = clusters(250, 12), clusters(20, 12, seed=1)
    index = whole(metric, n_components=0).fit(X)
    theirs = NearestNeighbors(metric=metric, algorithm="brute").fit(X)
    for asked in (Q, None):
        ours, wanted = index.kneighbors(asked, 6), theirs.kneighbors(asked, 6)
        np.testing.assert_allclose(ours[0], wanted[0], rtol=1e-3, atol=1e-3)
        assert recall(ours[1], wanted[1]) > 0.999
    np.testing.assert_array_equal(index.kneighbors(Q, 6, return_distance=False), index.kneighbors(Q, 6)[1])


def test_searches_in_several_threads_equal_one_after_the_other():
    """Threads that search at a time, while rows are added and removed, disturb one another in nothing."""
    X, Q = clusters(3000, 20), clusters(300, 20, seed=1)
    index = distlsh.LSHIndex(metric="euclidean", n_jobs=2).fit(X)
    wanted = index.search(Q, 5)[0]
    with ThreadPoolExecutor(6) as pool:
        results = [pool.submit(index.search, Q, 5) for _ in range(12)]
        far = index.add(np.full((40, 20), 1e3, np.float32) + np.arange(40)[:, None])
        index.remove(far)
        for result in results:
            np.testing.assert_array_equal(result.result()[0], wanted)


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_the_number_of_threads_changes_no_result(n_jobs):
    """Codes, candidates and results do not depend on how work is divided."""
    X, Q = clusters(5000, 20), clusters(400, 20, seed=1)
    ids = distlsh.LSHIndex(metric="cosine", n_jobs=n_jobs).fit(X).search(Q, 5)[0]
    np.testing.assert_array_equal(ids, distlsh.LSHIndex(metric="cosine", n_jobs=2).fit(X).search(Q, 5)[0])


def test_inner_products_are_ranked_by_sketches_as_exactly():
    """Where lengths differ much, the sketches of inner products still keep the best candidates."""
    random = np.random.default_rng(5)
    X = clusters(3000, 80, n_clusters=40) * np.exp(0.5 * random.standard_normal((3000, 1))).astype(np.float32)
    Q = clusters(60, 80, seed=1, n_clusters=40)
    index = whole("dot", n_components=32).fit(X)
    assert recall(index.search(Q, 10, n_rerank=20)[0], best("dot", Q, X, 10)[0]) > 0.95


@pytest.mark.parametrize("metric", METRICS)
def test_wide_sparse_vectors_are_hashed_by_their_components(metric):
    """Sparse vectors of many dimensions are never made dense, and near ones among them are found."""
    X, Q = clusters(2000, 40), clusters(50, 40, seed=1)
    place = np.random.default_rng(3).permutation(50_000)[:40]
    wide = [
        csr_array(
            (rows.ravel(), np.tile(place, len(rows)), np.arange(0, rows.size + 1, 40)), (len(rows), 50_000)
        )
        for rows in (X, Q)
    ]
    index = distlsh.LSHIndex(metric=metric).fit(wide[0])
    assert index.stats().n_components == 60 and index.n_bytes < 20e6
    ids, scores = index.search(wide[1], 5)
    assert recall(ids, best(metric, Q, X, 5)[0]) > 0.6
    np.testing.assert_allclose(
        scores, np.take_along_axis(all_scores(metric, Q, X), ids, 1), rtol=1e-3, atol=1e-3
    )
