"""The asymmetric transforms against their definitions, dense and sparse."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.errors import ConfigError, ShapeError, UsageError
from distlsh.lsh.rows import SparseRows
from distlsh.lsh.transforms import extra_dims, largest_norm, norms, queries, rows

KINDS = ("simple", "l2_alsh", "sign_alsh")


def vectors(seed, m=50, d=12, sparse=False):
    random = np.random.default_rng(seed)
    X = random.standard_normal((m, d)) * random.exponential(1.0, (m, 1))
    if sparse:
        X *= random.random((m, d)) < 0.3
    return X.astype(np.float32)


def as_sparse(X):
    return SparseRows.of(sp.csr_matrix(X))


def as_dense(X):
    return sp.csr_matrix((X.values, X.indices, X.indptr), (len(X.indptr) - 1, X.n_dims)).toarray()


def test_simple_keeps_inner_products_on_the_unit_sphere():
    """P(x) and Q(q) have unit length, and their product is x.q / (M |q|)."""
    X, Q = vectors(0), vectors(1, m=20)
    M = largest_norm(X)
    P, T = rows("simple", X, M), queries("simple", Q)
    np.testing.assert_allclose(np.linalg.norm(P, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(T, axis=1), 1, atol=1e-6)
    wanted = X @ Q.T / (M * np.linalg.norm(Q, axis=1))
    np.testing.assert_allclose(P @ T.T, wanted, atol=1e-5)


def test_l2_alsh_distance_is_that_of_the_paper():
    """|P(x) - Q(q)|^2 = 1 + m/4 - 2 U x.q / (M |q|) + |U x / M|^(2^(m+1)), m = 3, U = 0.83."""
    X, Q = vectors(2), vectors(3, m=20)
    M, U = largest_norm(X), 0.83
    P, T = rows("l2_alsh", X, M), queries("l2_alsh", Q)
    distances = ((P[:, None] - T[None]) ** 2).sum(2)
    lengths = np.linalg.norm(X, axis=1) * U / M
    inner = U * X @ Q.T / (M * np.linalg.norm(Q, axis=1))
    np.testing.assert_allclose(distances, 1 + 3 / 4 - 2 * inner + lengths[:, None] ** 16, atol=1e-5)


def test_sign_alsh_cosine_is_that_of_the_paper():
    """cos(P(x), Q(q)) = U x.q / (M |q|) / sqrt(m/4 + |U x / M|^(2^(m+1))), m = 2, U = 0.75."""
    X, Q = vectors(4), vectors(5, m=20)
    M, U = largest_norm(X), 0.75
    P, T = rows("sign_alsh", X, M), queries("sign_alsh", Q)
    cosines = P @ T.T / np.linalg.norm(P, axis=1)[:, None]
    lengths = np.linalg.norm(X, axis=1) * U / M
    inner = U * X @ Q.T / (M * np.linalg.norm(Q, axis=1))
    np.testing.assert_allclose(cosines, inner / np.sqrt(2 / 4 + lengths[:, None] ** 8), atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS), st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_transforms_put_the_rows_in_the_order_of_their_inner_products(seed, kind, size):
    """By angle (simple), distance (l2_alsh) or cosine (sign_alsh), the row of largest product comes first.

    The ALSH transforms leave a term of at most U^(2^(m+1)): rows closer than that may change places.
    """
    X, Q = vectors(seed) * np.float32(size), vectors(seed + 1, m=10)
    M = largest_norm(X)
    P, T = rows(kind, X, M).astype(float), queries(kind, Q).astype(float)
    nearness = -((P[:, None] - T[None]) ** 2).sum(2)
    if kind != "l2_alsh":
        nearness = P @ T.T / np.linalg.norm(P, axis=1)[:, None]
    products = X.astype(float) @ Q.T / (M * np.linalg.norm(Q, axis=1))
    found = products[nearness.argmax(0), np.arange(10)]
    slack = {"simple": 1e-5, "l2_alsh": 0.83**16 / 2 / 0.83 + 1e-5, "sign_alsh": 0.2}[kind]
    assert np.all(products.max(0) - found <= slack)


@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS), st.integers(0, 40), st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_sparse_rows_transform_to_the_same_numbers_as_dense_ones(seed, kind, m, d):
    """Bit for bit, empty rows included, for rows and for queries; the indices stay ascending."""
    X = vectors(seed, m, d, sparse=True)
    for function in (lambda V: rows(kind, V, 2.5), lambda V: queries(kind, V)):
        found = function(as_sparse(X))
        np.testing.assert_array_equal(as_dense(found), function(X))
        for i in range(m):
            assert np.all(np.diff(found.indices[found.indptr[i] : found.indptr[i + 1]]) > 0)
        assert np.all(found.values != 0)


@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS))
@settings(max_examples=20, deadline=None)
def test_a_transformed_row_does_not_depend_on_the_others(seed, kind):
    """A row alone gets the bits that it gets among others, in any block of a wide array."""
    X = vectors(seed, 7, 40_000)
    together = rows(kind, X, 9.0)
    for i in range(7):
        np.testing.assert_array_equal(rows(kind, X[i : i + 1], 9.0)[0], together[i])


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_of_sparse_rows_transforms_like_the_whole(kind):
    """Its indptr starts in the middle of the values."""
    X = vectors(13, 30, sparse=True)
    whole = as_sparse(X)
    some = whole._replace(indptr=whole.indptr[10:21])
    np.testing.assert_array_equal(as_dense(rows(kind, some, 2.5)), rows(kind, X[10:20], 2.5))
    np.testing.assert_array_equal(norms(some), norms(X[10:20]))


def test_rows_longer_than_max_norm_are_shortened_to_it():
    """A row that outgrew the stored maximum hashes like one that just reaches it."""
    X = vectors(6)
    X *= 3 / np.linalg.norm(X, axis=1, keepdims=True)
    for kind in KINDS:
        # Beside a length of 1 the last bit of a square is 3e-4 of its square root.
        np.testing.assert_allclose(rows(kind, X, 1.0), rows(kind, X / 3, 1.0), atol=1e-3)


def test_a_query_of_zeros_stays_zeros():
    """It has no direction; nothing is divided by its length."""
    zeros = np.zeros((1, 4), np.float32)
    assert not queries("simple", zeros).any()
    np.testing.assert_array_equal(queries("l2_alsh", zeros)[0], [0, 0, 0, 0, 0.5, 0.5, 0.5])


def test_none_returns_what_it_was_given():
    """No copy, and no check of max_norm, which it does not use."""
    X = vectors(7)
    assert rows("none", X, 0.0) is X
    assert queries("none", X) is X
    assert extra_dims("none") == 0


def test_norms_are_those_of_numpy_over_several_blocks():
    """Also where rows are wider than a block and where some are empty."""
    for X in (vectors(8, 3, 70_000), vectors(9, 5000, 40, sparse=True)):
        np.testing.assert_allclose(norms(X), np.linalg.norm(X.astype(float), axis=1), rtol=1e-12)
        np.testing.assert_array_equal(norms(as_sparse(X)), norms(X))
    assert largest_norm(np.zeros((0, 3), np.float32)) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_nan_or_infinity_is_refused_with_its_row(bad):
    """Dense and sparse, rows and queries."""
    X = vectors(10)
    X[17, 3] = bad
    for V in (X, as_sparse(X)):
        with pytest.raises(UsageError, match=r"row 17 .*NaN"):
            rows("simple", V, 1.0)
        with pytest.raises(UsageError, match=r"row 17 .*NaN"):
            queries("sign_alsh", V)


@pytest.mark.parametrize("max_norm", [0.0, -1.0, np.nan, np.inf])
def test_a_max_norm_that_is_no_length_is_refused(max_norm):
    """The message says what it must be."""
    with pytest.raises(UsageError, match=r"max_norm is .*longest row"):
        rows("simple", vectors(11), max_norm)


def test_an_unknown_transform_and_a_wrong_shape_are_refused():
    """ConfigError names the known transforms; ShapeError the shape."""
    with pytest.raises(ConfigError, match=r"lsh\.transform .*simple, l2_alsh, sign_alsh"):
        rows("cosine", vectors(12), 1.0)
    with pytest.raises(ShapeError, match=r"\(12,\)"):
        queries("simple", vectors(12)[0])
