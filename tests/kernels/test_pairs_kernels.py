"""Pairs of index and value: copies, gradients and lengths against their dense counterparts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.kernels.hidden_layer import normalize_backward, normalize_forward
from distlsh.kernels.input_layer import input_forward
from distlsh.kernels.pairs import (
    dense_to_pairs,
    gather_rows,
    normalize_pairs,
    normalize_pairs_backward,
    pairs_gradient,
    pairs_to_dense,
)

SHAPES = {"seed": st.integers(0, 2**32 - 1), "m": st.integers(1, 5), "d": st.integers(1, 30)}


def sparse(rng: np.random.Generator, m: int, d: int) -> np.ndarray:
    """Return f4[m, d] of which many places are 0."""
    return (rng.standard_normal((m, d)) * (rng.random((m, d)) < 0.5)).astype(np.float32)


def room(m: int, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(m + 1, np.int64), np.full(m * most, -7, np.int32), np.full(m * most, np.nan, np.float32)


def pairs_of(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the non-zeros of ``x`` as CSR, by NumPy."""
    rows, columns = np.nonzero(x)
    indptr = np.searchsorted(rows, np.arange(len(x) + 1)).astype(np.int64)
    return indptr, columns.astype(np.int32), x[rows, columns].astype(np.float32)


@given(**SHAPES, drop=st.booleans())
@settings(deadline=None, max_examples=60)
def test_dense_activations_become_pairs_and_back(seed, m, d, drop):
    """Without their zeros or with them, the pairs of a dense array give it again, ascending by index."""
    x = sparse(np.random.default_rng(seed), m, d)
    indptr, indices, values = room(m, d)
    dense_to_pairs(x, drop, indptr, indices, values)
    if drop:
        wanted = pairs_of(x)
        n = wanted[0][-1]
        for got, want in zip((indptr, indices[:n], values[:n]), wanted, strict=True):
            np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_array_equal(indptr, d * np.arange(m + 1))
    again = np.full((m, d), 9.0, np.float32)
    pairs_to_dense(indptr, indices, values, again)
    np.testing.assert_array_equal(again, x)


@pytest.mark.parametrize("keep", [1.0, 0.6])
def test_gathered_rows_are_what_the_dense_first_layer_sums(keep):
    """The pairs of a batch, dropout included, times the weights are what ``input_forward`` writes."""
    rng = np.random.default_rng(3)
    x, weights = sparse(rng, 9, 20), rng.standard_normal((20, 6)).astype(np.float32)
    x[4] = 0.0
    rows, seeds = np.array([4, 8, 0, 8]), rng.integers(0, 2**63, 4).astype(np.uint64)
    wanted = np.empty((4, 6), np.float32)
    input_forward(*pairs_of(x), rows, seeds, keep, weights, wanted)
    pairs, dense = room(4, 20), np.empty((4, 20), np.float32)
    gather_rows(*pairs_of(x), rows, seeds, keep, *pairs)
    pairs_to_dense(*pairs, dense)
    np.testing.assert_allclose(dense @ weights, wanted, rtol=1e-5, atol=1e-5)
    kept = np.count_nonzero(dense) / np.count_nonzero(x[rows])
    assert kept == 1 if keep == 1 else 0 < kept < 1


@given(**SHAPES, h=st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_a_dense_layers_gradient_to_pairs(seed, m, d, h):
    """Each pair gets its place of delta @ weights.T, and nothing else is computed."""
    rng = np.random.default_rng(seed)
    x, weights = sparse(rng, m, d), rng.standard_normal((d, h)).astype(np.float32)
    delta = rng.standard_normal((m, h)).astype(np.float32)
    indptr, indices, _ = pairs_of(x)
    out = np.full(len(indices), np.nan, np.float32)
    pairs_gradient(indptr, indices, delta, weights, out)
    np.testing.assert_allclose(out, (delta @ weights.T)[x != 0], rtol=1e-4, atol=1e-5)


@given(**SHAPES)
@settings(deadline=None, max_examples=60)
def test_unit_lengths_are_those_of_the_dense_kernels(seed, m, d):
    """Scaling pairs to length 1, and the gradient back, is what the dense kernels do; zeros stay."""
    rng = np.random.default_rng(seed)
    x = sparse(rng, m, d)
    x[0] = 0.0
    delta = np.where(x != 0, rng.standard_normal((m, d)), 0.0).astype(np.float32)
    indptr, _, values = pairs_of(x)
    unit, norms, gradient = np.empty_like(values), np.empty(m, np.float32), delta[x != 0]
    normalize_pairs(indptr, values, unit, norms)
    normalize_pairs_backward(indptr, unit, norms, gradient)
    dense_unit, dense_norms = np.empty_like(x), np.empty(m, np.float32)
    normalize_forward(x, dense_unit, dense_norms)
    normalize_backward(dense_unit, dense_norms, delta)
    np.testing.assert_allclose(norms, dense_norms, rtol=1e-5)
    np.testing.assert_allclose(unit, dense_unit[x != 0], rtol=1e-5)
    np.testing.assert_allclose(gradient, delta[x != 0], rtol=1e-3, atol=1e-5)
