"""Adding, removing, saving and loading."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

import distlsh
from distlsh.errors import StoreError, UsageError
from tests.lsh.index.index_cases import METRICS, best, clusters, whole


@pytest.mark.parametrize("kind", [np.asarray, csr_array])
@pytest.mark.parametrize("metric", METRICS)
def test_added_rows_are_found_as_fitted_ones_are(metric, kind):
    """Rows added in parts have the ids that come next, and results are those of brute force over all."""
    X, Q = clusters(400, 16), clusters(30, 16, seed=1)
    X[300:] *= 0.5  # dot: what is added is not longer than what was fitted
    index = whole(metric).fit(kind(X[:300]))
    ids = [index.add(kind(X[first : first + 20])) for first in range(300, 400, 20)]
    np.testing.assert_array_equal(np.concatenate(ids), np.arange(300, 400))
    assert len(index) == 400
    _, scores = index.search(Q, 8)
    np.testing.assert_allclose(scores, best(metric, Q, X, 8)[1], rtol=1e-3, atol=1e-3)


def test_an_index_grown_by_parts_holds_the_candidates_of_one_fitted_at_once():
    """With the same hash functions, segments, merged or not, retrieve what one segment would."""
    X, Q = clusters(1500, 20), clusters(40, 20, seed=1)
    X -= X.mean(axis=0)
    X[:700] -= X[:700].mean(axis=0)
    settings_ = {"family": "dwta", "metric": "cosine", "n_hashes": 2, "n_tables": 6, "n_probes": 2}
    parts = distlsh.LSHIndex(**settings_).fit(X[:700])
    for first in range(700, 1500, 100):
        parts.add(X[first : first + 100])
    at_once = distlsh.LSHIndex(**settings_).fit(X)
    assert parts.stats().n_segments > 1
    assert (parts.candidates(Q) != at_once.candidates(Q)).nnz == 0
    for ours, theirs in zip(parts.search(Q, 10), at_once.search(Q, 10), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_order_of_adding_and_removing_leaves_the_right_rows(data):
    """After random changes, a search for everything returns the rows that are left, and no other."""
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    X = random.standard_normal((data.draw(st.integers(1, 30)), 4)).astype(np.float32)
    index = whole(n_components=0).fit(X)
    held = dict(enumerate(X))
    for _ in range(data.draw(st.integers(1, 8))):
        if held and data.draw(st.booleans()):
            gone = data.draw(st.lists(st.sampled_from(sorted(held)), unique=True, max_size=len(held)))
            index.remove(gone)
            for id_ in gone:
                del held[id_]
        else:
            more = random.standard_normal((data.draw(st.integers(1, 12)), 4)).astype(np.float32)
            held.update(zip(index.add(more).tolist(), more, strict=True))
    assert len(index) == len(held)
    ids, scores = index.search(np.zeros((1, 4)), len(held) + 2)
    assert sorted(ids[0, : len(held)].tolist()) == sorted(held)
    assert (ids[0, len(held) :] == -1).all()
    for id_, score in zip(ids[0, : len(held)].tolist(), scores[0].tolist(), strict=False):
        assert score == pytest.approx(float(np.linalg.norm(held[id_])), rel=1e-4)


def test_removed_rows_are_no_candidates_and_their_ids_stay_unused():
    """What is removed is not found; a later row has a new id; removing it again is an error."""
    X = clusters(50, 8)
    index = whole().fit(X)
    index.remove([3, 7])
    assert 3 not in index.candidates(X).indices and 7 not in index.search(X, 48)[0]
    assert index.add(X[:1]).tolist() == [50] and len(index) == 49
    with pytest.raises(UsageError, match="id 7 is not in the index, or was removed"):
        index.remove([5, 7])
    assert len(index) == 49 and 5 in index.search(X, 49)[0]


def test_many_removals_give_their_memory_back():
    """A segment of which much is removed is made anew, without a change in what is found."""
    X, Q = clusters(400, 8), clusters(20, 8, seed=1)
    index = whole().fit(X)
    before = index.n_bytes
    index.remove(np.arange(0, 400, 2))
    assert index.stats().n_removed == 0 and index.n_bytes < 0.7 * before
    np.testing.assert_allclose(index.search(Q, 5)[1], best("euclidean", Q, X[1::2], 5)[1], rtol=1e-3)
    assert (index.search(Q, 5)[0] % 2 == 1).all()


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("kind", [np.asarray, csr_array])
def test_a_loaded_index_is_the_saved_one(tmp_path, kind, mmap):
    """Results, candidates, ids and parameters survive a file, and changes after it touch memory alone."""
    X, Q = clusters(600, 16), clusters(30, 16, seed=1)
    index = distlsh.LSHIndex(metric="cosine", n_tables=5, seed=4).fit(kind(X[:500]))
    index.add(kind(X[500:520]))
    index.remove([11, 510])
    index.save(tmp_path / "index")
    loaded = distlsh.LSHIndex.load(tmp_path / "index", mmap=mmap)
    assert loaded.get_params() == index.get_params() and loaded.spec_ == index.spec_ and len(loaded) == 518
    for ours, theirs in zip(loaded.search(Q, 9), index.search(Q, 9), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.add(kind(X[520:])).tolist() == list(range(520, 600))
    loaded.remove([1])
    again = distlsh.LSHIndex.load(tmp_path / "index", mmap=mmap)
    np.testing.assert_array_equal(again.search(Q, 9)[0], index.search(Q, 9)[0])


def test_saving_again_replaces_the_index_under_those_who_map_it(tmp_path):
    """One who mapped the old files keeps them; who loads after sees the new; nothing else is left there.

    What somebody put there under a name that can be foreseen is neither used nor removed.
    """
    X = clusters(200, 8)
    planted = tmp_path / f".index.tmp-{os.getpid()}"
    planted.mkdir()
    index = whole().fit(X)
    index.save(tmp_path / "index")
    old = distlsh.LSHIndex.load(tmp_path / "index")
    wanted = old.search(X, 3)[0]
    whole().fit(X[::-1]).save(tmp_path / "index")
    np.testing.assert_array_equal(old.search(X, 3)[0], wanted)
    assert distlsh.LSHIndex.load(tmp_path / "index").search(X[:1], 1)[0][0, 0] == 199
    assert {path.name for path in tmp_path.iterdir()} == {"index", planted.name}


def test_damaged_and_foreign_files_are_named(tmp_path):
    """A path without an index, one with a file cut short, and one that is something else raise errors."""
    with pytest.raises(StoreError, match="no index"):
        distlsh.LSHIndex.load(tmp_path / "none")
    index = whole().fit(clusters(100, 8))
    (tmp_path / "else").mkdir()
    with pytest.raises(UsageError, match="is no index"):
        index.save(tmp_path / "else")
    index.save(tmp_path / "index")
    file = tmp_path / "index" / "0.ids.npy"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(StoreError, match="save it again"):
        distlsh.LSHIndex.load(tmp_path / "index")
    np.save(file, np.zeros((1, 50), np.int32))
    with pytest.raises(StoreError, match=r"0\.ids is int32\[1, 50\]"):
        distlsh.LSHIndex.load(tmp_path / "index")


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("0.labels", lambda a: a.__setitem__(50, -(2**63))),
        ("0.labels", lambda a: a.__setitem__(0, -1)),
        ("0.ids", lambda a: a.__setitem__((0, 0), a[0, 1])),
        ("0.ids", lambda a: a.__setitem__((0, 0), 100)),
        ("0.starts", lambda a: a.__setitem__((0, -2), -(2**31))),
        ("0.starts", lambda a: a.__setitem__((0, -1), 101)),
    ],
)
def test_ids_and_places_that_searches_could_not_trust_are_refused(tmp_path, name, spoil):
    """A file of the right shape that holds an id twice, out of range, or buckets out of order is an error."""
    whole().fit(clusters(100, 8)).save(tmp_path / "index")
    array = np.load(tmp_path / "index" / f"{name}.npy")
    spoil(array)
    np.save(tmp_path / "index" / f"{name}.npy", array)
    with pytest.raises(StoreError, match=name):
        distlsh.LSHIndex.load(tmp_path / "index")
    distlsh.LSHIndex.load(tmp_path / "index", verify=False)
