"""Feature arrays of any kind become the same CSR blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from distlsh.errors import ShapeError
from distlsh.evaluation.features import FeatureRows

FORMS = {
    "dense": np.asarray,
    "float64": lambda x: x.astype(np.float64),
    "fortran": np.asfortranarray,
    "list": lambda x: x.tolist(),
    "csr_array": sparse.csr_array,
    "csr_matrix": sparse.csr_matrix,
    "csc": sparse.csc_array,
    "coo": sparse.coo_array,
    "lil": sparse.lil_matrix,
}


def dense(block: tuple[np.ndarray, np.ndarray, np.ndarray], n_features: int) -> np.ndarray:
    indptr, indices, values = block
    return sparse.csr_array((values, indices, indptr), (len(indptr) - 1, n_features)).toarray()


@settings(max_examples=40, deadline=None)
@given(
    form=st.sampled_from(sorted(FORMS)),
    m=st.integers(1, 12),
    cut=st.integers(0, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_blocks_hold_the_rows(form: str, m: int, cut: int, seed: int) -> None:
    """Two blocks of any form, put together, are the rows, in the dtypes that kernels take."""
    rng = np.random.default_rng(seed)
    X = (rng.random((m, 7)) * (rng.random((m, 7)) < 0.4)).astype(np.float32)
    rows, cut = FeatureRows(FORMS[form](X), 7), min(cut, m)
    blocks = [rows.block(0, cut), rows.block(cut, m)]
    np.testing.assert_array_equal(np.vstack([dense(block, 7) for block in blocks]), X)
    for indptr, indices, values in blocks:
        assert (indptr.dtype, indices.dtype, values.dtype) == (np.int64, np.int32, np.float32)


def test_unit_rows() -> None:
    """Rows are scaled to norm 1, empty ones stay, and the caller's array is not touched."""
    X = sparse.csr_array(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32))
    block = FeatureRows(X, 2, unit=True).block(0, 2)
    np.testing.assert_allclose(dense(block, 2), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert X.data.tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones((2, 3)), "3 features.* 4"),
        (sparse.csr_array(np.ones((2, 5))), "5 features.* 4"),
        (np.ones(4), "1 dimensions"),
        (np.ones((2, 4), complex), "complex"),
        (np.full((2, 4), "a"), "dtype"),
    ],
)
def test_wrong_arrays_are_refused(X: object, message: str) -> None:
    """Another width, rank or kind is a ShapeError that says what was found."""
    with pytest.raises(ShapeError, match=message):
        FeatureRows(X, 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
@pytest.mark.parametrize("form", ["dense", "csr_array"])
def test_numbers_that_are_not_finite_are_refused(bad: float, form: str) -> None:
    """NaN, infinity, and what float32 cannot hold: the error names the row."""
    X = np.ones((5, 3))
    X[3, 1] = bad
    with pytest.raises(ShapeError, match="row 3"):
        FeatureRows(FORMS[form](X), 3).block(2, 5)
