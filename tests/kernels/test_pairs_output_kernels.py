"""The output layer over sparse activations is the one over the same activations with their zeros."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.kernels.losses import BCE, SOFTMAX
from distlsh.kernels.optim import ADAGRAD, SGD
from distlsh.kernels.pairs_output import all_active, pairs_output_step
from distlsh.model.counters import Counter
from tests.kernels.test_output_layer_kernels import HYPER, Layer, draw
from tests.kernels.test_pairs_kernels import pairs_of, sparse


def pairs_step(layer: Layer, active, bounds, pairs, seeds) -> np.ndarray:
    """Step ``layer`` in place and return the gradient to the pairs."""
    cap, grad = active.shape[1], np.full(len(pairs[1]), np.nan, np.float32)
    head = (active, bounds, *pairs, seeds, layer.loss, layer.log_q, layer.scale, layer.tau)
    blocks = (*layer.block, *layer.bias_block, layer.use_bias, layer.dirty)
    scratch = (np.empty(cap, np.float32), np.empty(cap, np.int32), grad, layer.counters)
    pairs_output_step(*head, layer.code, *blocks, layer.lr, HYPER, 1, *scratch)
    return grad


@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 4),
    n=st.integers(1, 12),
    d=st.integers(1, 30),
    loss=st.sampled_from([SOFTMAX, BCE]),
    use_bias=st.booleans(),
    log_q=st.booleans(),
    code=st.sampled_from([SGD, ADAGRAD]),
    tau=st.sampled_from([0.0, 0.3]),
)
@settings(deadline=None, max_examples=150)
def test_pairs_give_what_dense_activations_give(seed, m, n, d, loss, use_bias, log_q, code, tau):
    """Loss, rows, biases, marks, counts and gradients at the pairs' places agree; so do the random ones."""
    w, bias, _, active, bounds = draw(seed, m, n, d)
    rng = np.random.default_rng(seed)
    x, seeds = sparse(rng, m, d), rng.integers(0, 2**63, m).astype(np.uint64)
    layers = [
        Layer(w.copy(), bias.copy() if use_bias else None, loss, log_q and loss == SOFTMAX, 0.7, tau, code)
        for _ in range(2)
    ]
    dense, pairs = layers
    dense.lr = pairs.lr = 0.05
    wanted = dense.step(active, bounds, x, seeds)
    got = pairs_step(pairs, active, bounds, pairs_of(x), seeds)
    np.testing.assert_allclose(got, wanted[x != 0], rtol=1e-3, atol=1e-4)
    for a, b in zip((*pairs.block, *pairs.bias_block), (*dense.block, *dense.bias_block), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(pairs.dirty, dense.dirty)
    counted = pairs.counters.copy()
    counted[Counter.MACS] = 0.0
    np.testing.assert_allclose(counted, dense.counters, rtol=1e-4, atol=1e-5)


def test_multiply_adds_are_those_of_active_outputs_and_inputs():
    """A sample adds (active + 2 updated) x pairs."""
    layer = Layer(np.ones((6, 5)), None, SOFTMAX)
    x = np.array([[1, 0, 2, 0, 0], [1, 1, 1, 0, 0]], np.float32)
    active, bounds = np.array([[0, 1, 2, 3]] * 2, np.int32), np.array([[1, 4, 4], [1, 2, 2]], np.int32)
    pairs_step(layer, active, bounds, pairs_of(x), np.zeros(2, np.uint64))
    assert layer.counters[Counter.MACS] == 3 * 4 * 2 + 3 * 2 * 3


def test_all_outputs_are_listed_labels_first():
    """Labels stand first, once each, then all others; the scratch is left as it was."""
    indptr, labels = np.array([0, 3, 3, 4]), np.array([4, 2, 4, 0], np.int32)
    marks, active, bounds = np.zeros(5, np.uint8), np.empty((3, 5), np.int32), np.empty((3, 3), np.int32)
    all_active(indptr, labels, np.array([0, 2, 1]), marks, active, bounds)
    assert active.tolist() == [[4, 2, 0, 1, 3], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert bounds.tolist() == [[2, 5, 5], [1, 5, 5], [0, 5, 5]]
    assert not marks.any()
