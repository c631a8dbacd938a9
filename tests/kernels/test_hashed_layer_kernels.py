"""A hashed layer's kernels against a slow float64 version, and its optimisers against the dense ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distlsh.kernels.hashed_layer import hashed_backward, hashed_forward
from distlsh.kernels.hidden_layer import LINEAR, RELU, TANH
from distlsh.kernels.optim import ADAGRAD, ADAGRAD_ROW, ADAM, MOMENTUM, SGD, update_rows
from tests.kernels.test_pairs_kernels import pairs_of, room, sparse

FUNCTIONS = {LINEAR: lambda x: x, RELU: lambda x: np.maximum(x, 0), TANH: np.tanh}
SLOPES = {LINEAR: np.ones_like, RELU: lambda a: (a > 0) * 1.0, TANH: lambda a: 1 - a**2}
HYPER = np.array([0.9, 0.99, 1e-6], np.float32)


def forward(candidates, counts, x, w, bias, activation, budget):
    """Return what the kernel passes on as dense activations f4[m, h], and its pairs."""
    m, h, cap = len(x), len(w), candidates.shape[1]
    pairs = room(m, min(budget, cap))
    marks, scratch = np.zeros(h, np.uint8), np.empty((2, cap), np.float32)
    layer = (w, bias, activation, budget)
    hashed_forward(candidates, counts, *pairs_of(x), *layer, marks, np.empty(cap, np.int32), *scratch, *pairs)
    assert not marks.any()
    out = np.zeros((m, h), np.float32)
    for s in range(m):
        ids = pairs[1][pairs[0][s] : pairs[0][s + 1]]
        assert (np.diff(ids) > 0).all()
        out[s, ids] = pairs[2][pairs[0][s] : pairs[0][s + 1]]
    return out, pairs


def slow_forward(candidates, counts, x, w, bias, activation, budget):
    """Return the same in float64: the largest sums of each sample's candidates, by a stable sort."""
    out = np.zeros((len(x), len(w)))
    for s in range(len(x)):
        ids = np.sort(candidates[s % len(candidates)][: counts[s % len(counts)]])
        sums = w[ids].astype(float) @ x[s] + bias[ids, 0]
        best = np.argsort(-sums, kind="stable")[:budget]
        out[s, ids[best]] = FUNCTIONS[activation](sums[best])
    return out


@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 4),
    h=st.integers(1, 40),
    d=st.integers(1, 20),
    activation=st.sampled_from([LINEAR, RELU, TANH]),
    shared=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_the_largest_sums_of_the_candidates_are_passed_on(seed, m, h, d, activation, shared):
    """For any candidates and budget, activations and their places are the slow version's."""
    rng = np.random.default_rng(seed)
    x, w = sparse(rng, m, d), rng.standard_normal((h, d)).astype(np.float32)
    bias = rng.standard_normal((h, 1)).astype(np.float32)
    lists = 1 if shared else m
    candidates = np.array([rng.permutation(h) for _ in range(lists)], np.int32)
    counts = rng.integers(0, h + 1, lists).astype(np.int32)
    budget = int(rng.integers(1, h + 1))
    arguments = (candidates, counts, x, w, bias, activation, budget)
    np.testing.assert_allclose(forward(*arguments)[0], slow_forward(*arguments), rtol=1e-4, atol=1e-5)


def test_of_equal_sums_the_lower_neurons_are_active():
    """Ties at the budget's end are broken by id, so that the choice is a function of the weights."""
    w, bias = np.zeros((6, 2), np.float32), np.array([[1], [2], [1], [1], [3], [1]], np.float32)
    candidates = np.array([[5, 3, 4, 0, 2, 1]], np.int32)
    out, _ = forward(candidates, np.array([6], np.int32), np.ones((1, 2)), w, bias, RELU, 4)
    assert np.flatnonzero(out[0]).tolist() == [0, 1, 2, 4]


def test_a_nan_is_passed_on():
    """A neuron gone bad is active whatever its sum, within the budget: the loss must show it."""
    w, bias = np.ones((9, 2), np.float32), np.zeros((9, 1), np.float32)
    w[[2, 5, 7]] = np.nan
    candidates = np.arange(9, dtype=np.int32)[None]
    for budget in (2, 4):
        out, pairs = forward(candidates, np.array([9], np.int32), np.ones((1, 2)), w, bias, RELU, budget)
        assert np.isnan(out).sum() == min(3, budget) and pairs[0][1] == budget


def block(values: np.ndarray, code: int):
    """Return an array's states for an optimiser, as kernels take them."""
    width = 1 if code == ADAGRAD_ROW else values.shape[1]
    return (
        values,
        *(np.full((len(values), width), 0.01, np.float32) for _ in range(2)),
        np.zeros(len(values), np.int64),
    )


def backward(pairs, delta, x, w, bias, activation, code, lr, wants=True):
    """Step a copy of the layer; return it, the gradient to the inputs' pairs, and the dirty marks."""
    w, bias = block(w.copy(), code), block(bias.copy(), code)
    inputs, dirty = pairs_of(x), np.zeros(len(w[0]), np.uint8)
    in_delta = np.full(len(inputs[1]), np.nan, np.float32)
    hashed_backward(*pairs, delta, *inputs, in_delta, wants, activation, code, *w, *bias, dirty, lr, HYPER, 1)
    return w, bias, in_delta, dirty


@example(seed=364156, m=3, h=4, d=19, activation=TANH)  # a saturated neuron
@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 4),
    h=st.integers(1, 20),
    d=st.integers(1, 20),
    activation=st.sampled_from([LINEAR, RELU, TANH]),
)
@settings(deadline=None, max_examples=100)
def test_gradients_touch_active_neurons_and_inputs_alone(seed, m, h, d, activation):
    """SGD steps rows and biases by the masked layer's gradient, sample by sample, and marks the rows."""
    rng = np.random.default_rng(seed)
    x, w = sparse(rng, m, d), rng.standard_normal((h, d)).astype(np.float32)
    bias = rng.standard_normal((h, 1)).astype(np.float32)
    candidates = np.array([rng.permutation(h) for _ in range(m)], np.int32)
    counts = np.full(m, h, np.int32)
    active, pairs = forward(candidates, counts, x, w, bias, activation, int(rng.integers(1, h + 1)))
    dense_delta = rng.standard_normal((m, h)).astype(np.float32)
    places = np.repeat(np.arange(m), np.diff(pairs[0])), pairs[1][: pairs[0][-1]]
    got_w, got_bias, in_delta, dirty = backward(pairs, dense_delta[places], x, w, bias, activation, SGD, 0.1)
    slow_w, slow_bias, slow_in = w.astype(float), bias.astype(float), np.zeros((m, d))
    mask = np.zeros((m, h))
    mask[places] = 1
    stepped = np.zeros(h, bool)
    for s in range(m):
        g = dense_delta[s] * mask[s] * SLOPES[activation](active[s].astype(float))
        stepped |= g != 0  # a saturated tanh has no gradient
        slow_in[s] = g @ slow_w
        slow_w -= 0.1 * np.outer(g, x[s])
        slow_bias -= 0.1 * g[:, None]
    np.testing.assert_allclose(got_w[0], slow_w, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got_bias[0], slow_bias, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(in_delta, slow_in[x != 0], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(dirty, stepped)


@pytest.mark.parametrize("code", [SGD, MOMENTUM, ADAGRAD, ADAGRAD_ROW, ADAM])
def test_on_all_inputs_an_optimiser_steps_as_on_a_dense_row(code):
    """With every input and neuron active, weights and states after one sample are `update_rows`'."""
    rng = np.random.default_rng(code)
    x, w = rng.standard_normal((1, 7)).astype(np.float32), rng.standard_normal((5, 7)).astype(np.float32)
    delta, bias = rng.standard_normal(5).astype(np.float32), np.zeros((5, 1), np.float32)
    pairs = np.array([0, 5]), np.arange(5, dtype=np.int32), np.ones(5, np.float32)
    got, got_bias, _, _ = backward(pairs, delta, x, w, bias, LINEAR, code, 0.1, wants=False)
    for gradient, found, start in ((np.outer(delta, x), got, w), (delta[:, None], got_bias, bias)):
        wanted = block(start.copy(), code)
        update_rows(code, *wanted, gradient.astype(np.float32), 0.1, HYPER, 1)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("code", [SGD, MOMENTUM, ADAGRAD, ADAGRAD_ROW, ADAM])
def test_inputs_that_are_not_active_keep_weights_and_states(code):
    """Places of absent inputs and rows of absent neurons are the same bytes as before."""
    rng = np.random.default_rng(code)
    x, w = np.zeros((1, 7), np.float32), rng.standard_normal((5, 7)).astype(np.float32)
    x[0, [1, 4]] = 2.0
    bias = np.zeros((5, 1), np.float32)
    pairs = np.array([0, 2]), np.array([0, 3], np.int32), np.ones(2, np.float32)
    got, _, _, dirty = backward(pairs, np.ones(2, np.float32), x, w, bias, LINEAR, code, 0.1, wants=False)
    before = block(w, code)
    touched = np.zeros((5, 7), bool)
    touched[np.ix_([0, 3], [1, 4])] = True
    assert (got[0] != w)[touched].all() and (got[0] == w)[~touched].all()
    if code != ADAGRAD_ROW:
        for after, start in zip(got[1:3], before[1:3], strict=True):
            assert (after == start)[~touched].all()
    assert dirty.tolist() == [1, 0, 0, 1, 0]
