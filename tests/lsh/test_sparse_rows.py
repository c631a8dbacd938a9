"""Rows by their non-zeros: what is taken from SciPy, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from distlsh.errors import ShapeError
from distlsh.lsh.rows import SparseRows, block, n_rows


def csr(m=20, n_dims=50, seed=0):
    return scipy.sparse.random_array((m, n_dims), density=0.2, format="csr", rng=np.random.default_rng(seed))


def test_rows_of_any_sparse_array():
    """CSR, CSC and COO arrays and matrices, of any number type, become the same rows."""
    X = csr()
    for given in (X, X.tocsc(), X.tocoo(), scipy.sparse.csr_matrix(X), X.astype(np.float32)):
        rows = SparseRows.of(given)
        assert (rows.n_rows, rows.n_dims, n_rows(rows)) == (20, 50, 20)
        assert [array.dtype.name for array in rows[:3]] == ["int64", "int32", "float32"]
        np.testing.assert_array_equal(rows.dense(), X.toarray().astype(np.float32))


def test_indices_are_put_in_order_and_duplicates_added():
    """What is out of order or given twice is mended in a copy: the array given stays as it is."""
    X = scipy.sparse.csr_array(([1.0, 2.0, 4.0, 8.0], [3, 1, 3, 0], [0, 3, 4]), shape=(2, 5))
    rows = SparseRows.of(X)
    assert rows.indices.tolist() == [1, 3, 0]
    assert rows.values.tolist() == [2, 5, 8]
    assert X.indices.tolist() == [3, 1, 3, 0]


def test_blocks_are_views():
    """A block shares the non-zeros; its rows, dense, are those of the whole."""
    rows = SparseRows.of(csr())
    part = block(rows, 5, 9)
    assert part.values is rows.values
    np.testing.assert_array_equal(part.dense(), rows.dense()[5:9])
    np.testing.assert_array_equal(block(rows.dense(), 5, 9), part.dense())


def test_what_is_no_sparse_array_is_refused():
    """Dense arrays, indices beyond the columns, and columns beyond int32 are errors that say so."""
    with pytest.raises(ShapeError, match="csr_array"):
        SparseRows.of(np.zeros((2, 2)))
    wide = scipy.sparse.csr_array(([1.0], [2**32 + 5], np.array([0, 1])), shape=(1, 2**33))
    with pytest.raises(ShapeError, match="2147483647"):
        SparseRows.of(wide)
    X = csr()
    X.indices[3] = 50
    with pytest.raises(ShapeError, match="indices do not fit"):
        SparseRows.of(X)
