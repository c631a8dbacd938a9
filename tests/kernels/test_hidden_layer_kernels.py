"""Activations, normalisation and dropout against NumPy and central differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.kernels.dropout import dropout_forward
from distlsh.kernels.hidden_layer import (
    LINEAR,
    RELU,
    TANH,
    activation_backward,
    activation_forward,
    column_sums,
    multiply,
    normalize_backward,
    normalize_forward,
)

FUNCTIONS = {LINEAR: lambda x: x, RELU: lambda x: np.maximum(x, 0), TANH: np.tanh}
DERIVATIVES = {LINEAR: np.ones_like, RELU: lambda x: (x > 0) * 1.0, TANH: lambda x: 1 - np.tanh(x) ** 2}
SHAPES = {"m": st.integers(1, 5), "d": st.integers(1, 70), "seed": st.integers(0, 2**32 - 1)}


@pytest.mark.parametrize("activation", [LINEAR, RELU, TANH])
@given(**SHAPES)
@settings(deadline=None, max_examples=30)
def test_activation_and_its_gradient(activation, m, d, seed):
    """Forward is f(x + b) and backward multiplies by f'(x + b)."""
    rng = np.random.default_rng(seed)
    x, delta = rng.standard_normal((2, m, d)).astype(np.float32)
    bias = rng.standard_normal((1, d)).astype(np.float32)
    sums = x + bias
    activation_forward(activation, bias, x)
    np.testing.assert_allclose(x, FUNCTIONS[activation](sums), rtol=1e-5, atol=1e-6)
    expected = delta * DERIVATIVES[activation](sums)
    activation_backward(activation, x, 1.0, delta)
    np.testing.assert_allclose(delta, expected, rtol=1e-4, atol=1e-6)


def test_a_nan_survives_every_activation():
    """No activation hides a NaN: the loss must show it."""
    for activation in (LINEAR, RELU, TANH):
        x = np.array([[np.nan, 1.0]], np.float32)
        activation_forward(activation, np.zeros((1, 2), np.float32), x)
        assert np.isnan(x[0, 0])


@given(**SHAPES)
@settings(deadline=None, max_examples=30)
def test_normalisation_and_its_gradient(m, d, seed):
    """Rows get unit length, and the gradient equals central differences in float64."""
    rng = np.random.default_rng(seed)
    x, delta = (rng.standard_normal((2, m, d)) * 3).astype(np.float32)
    unit, norms = np.empty_like(x), np.empty(m, np.float32)
    normalize_forward(x, unit, norms)
    lengths = np.linalg.norm(x.astype(np.float64), axis=1)
    np.testing.assert_allclose(norms, lengths, rtol=1e-5)
    np.testing.assert_allclose(unit, x / lengths[:, None], rtol=1e-4, atol=1e-6)

    def value(v: np.ndarray) -> np.ndarray:
        return (delta * v / np.linalg.norm(v, axis=1, keepdims=True)).sum(axis=1)

    expected, h = np.empty((m, d)), 1e-5
    for j in range(d):
        move = h * (np.arange(d) == j)
        expected[:, j] = (value(x + move) - value(x - move)) / (2 * h)
    size = np.abs(expected).max() + np.abs(delta).max() / lengths.min()
    normalize_backward(unit, norms, delta)
    np.testing.assert_allclose(delta, expected, rtol=1e-3, atol=1e-4 * size)


def test_a_row_of_zeros_stays_zero_and_has_no_gradient():
    """An instance without features has a hidden vector of zeros, not of NaN."""
    x, norms, delta = np.zeros((1, 3), np.float32), np.ones(1, np.float32), np.ones((1, 3), np.float32)
    normalize_forward(x, x, norms)
    normalize_backward(x, norms, delta)
    np.testing.assert_array_equal(np.concatenate([x, delta, norms[None, :, None][:, 0].repeat(3, 1)]), 0)


def test_dropout_is_unbiased_and_its_mask_gives_the_gradient():
    """The mean of 4,000 draws is the value (5 sigma), and the mask written is the mask applied."""
    n, keep = 4_000, 0.7
    seeds = np.random.default_rng(2).integers(0, 2**63, n).astype(np.uint64)
    value = np.array([1.0, -2.0, 4.0], np.float32)
    x, mask = np.tile(value, (n, 1)), np.empty((n, 3), np.float32)
    dropout_forward(seeds, keep, x, mask)
    assert np.all(np.abs(x.mean(axis=0) / value - 1) < 5 * np.sqrt((1 - keep) / keep / n))
    np.testing.assert_array_equal(x, value * mask)
    again = np.tile(value, (n, 1))
    multiply(mask, again)
    np.testing.assert_array_equal(x, again)


def test_tanh_gradient_after_dropout():
    """The gradient through tanh and dropout uses the activation as it was before dropout."""
    sums, keep = np.linspace(-2, 2, 9, dtype=np.float32)[None], 0.5
    x, mask = sums.copy(), np.empty((1, 9), np.float32)
    activation_forward(TANH, np.zeros((1, 9), np.float32), x)
    dropout_forward(np.array([3], np.uint64), keep, x, mask)
    delta = np.ones((1, 9), np.float32)
    multiply(mask, delta)
    activation_backward(TANH, x, keep, delta)
    assert 0 < np.count_nonzero(mask) < 9
    np.testing.assert_allclose(delta, mask * (1 - np.tanh(sums) ** 2), rtol=1e-4, atol=1e-6)


def test_column_sums():
    """Column sums overwrite what was in the output."""
    x, out = np.arange(6, dtype=np.float32).reshape(3, 2), np.full((1, 2), np.nan, np.float32)
    column_sums(x, out)
    np.testing.assert_array_equal(out, [[6.0, 9.0]])
