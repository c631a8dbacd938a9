"""Which rows a refresh hashes, and that reading them in one piece or picked out is the same."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.lsh import maintain
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.maintain import build, refresh, worth_hashing
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tables import Tables

SPEC = HashSpec(family="cross_polytope", n_dims=32, n_hashes=1, n_tables=6, dim=16, n_probes=0, seed=3)


def rows(n, seed=1):
    return np.random.default_rng(seed).standard_normal((n, 32), dtype=np.float32)


def test_few_marked_rows_are_hashed_alone():
    """Of a block with few marks, only the marked rows are worth it."""
    marks = np.zeros(5000, np.uint8)
    marks[[3, 4096, 4999]] = 1
    np.testing.assert_array_equal(worth_hashing(marks), [3, 4096, 4999])
    assert worth_hashing(np.zeros(10, np.uint8)).size == 0


def test_a_dense_block_is_hashed_whole_and_its_marks_are_kept():
    """Where most of a block is marked all of it is; the marks themselves are not changed."""
    marks = np.ones(4096 + 100, np.uint8)
    marks[7] = marks[4096:] = 0
    np.testing.assert_array_equal(worth_hashing(marks), np.arange(4096))
    assert marks[7] == 0


@pytest.mark.parametrize("ids", [np.arange(40, 90), np.array([1, 5, 6, 7, 199]), np.arange(0)])
def test_rows_in_a_row_and_picked_ones_end_up_where_a_build_puts_them(ids, monkeypatch):
    """After a refresh of some rows, codes and buckets hold what a build of the new rows holds."""
    monkeypatch.setattr(maintain, "_BATCH", 16)
    weights, hasher = rows(200), Hasher(SPEC, one_by_one=False)
    tables, anew = Tables.create(SPEC, 200, 64), Tables.create(SPEC, 200, 64)
    build(tables, hasher, weights)
    weights[ids] = rows(len(ids), 2)
    moved = refresh(tables, hasher, weights, ids.astype(np.int32))
    build(anew, hasher, weights)
    np.testing.assert_array_equal(tables.codes, anew.codes)
    np.testing.assert_array_equal(tables.sizes, anew.sizes)
    for table, code in np.ndindex(tables.sizes.shape):
        size = tables.sizes[table, code]
        assert set(tables.ids[table, code, :size]) == set(anew.ids[table, code, :size])
    assert (moved > 0) == (len(ids) > 0)
