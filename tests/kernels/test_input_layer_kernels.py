"""The first layer's kernels against SciPy's sparse product and a loop of row steps."""

from __future__ import annotations

import threading

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.kernels.input_layer import input_backward, input_forward
from distlsh.kernels.optim import ADAGRAD, SGD

HYPER = np.array([0.0, 0.0, 1e-6], np.float32)


def make(seed: int, n: int, n_features: int, density: float) -> sp.csr_array:
    rng = np.random.default_rng(seed)
    x = sp.random_array((n, n_features), density=density, rng=rng, dtype=np.float32, format="csr")
    x.indptr, x.indices = x.indptr.astype(np.int64), x.indices.astype(np.int32)
    return x


def csr(x: sp.csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return x.indptr.astype(np.int64), x.indices.astype(np.int32), x.data.astype(np.float32)


def states(w: np.ndarray) -> tuple[np.ndarray, ...]:
    return w, np.zeros_like(w), np.zeros((1, 1), np.float32), np.zeros(1, np.int64)


SHAPES = {
    "seed": st.integers(0, 2**32 - 1),
    "n": st.integers(1, 6),
    "n_features": st.integers(1, 40),
    "d": st.integers(1, 70),
    "density": st.sampled_from([0.0, 0.1, 0.5, 1.0]),
}


@given(**SHAPES)
@settings(deadline=None, max_examples=60)
def test_forward_is_the_sparse_product(seed, n, n_features, d, density):
    """The forward pass equals X @ W for any rows, also empty and repeated ones."""
    rng = np.random.default_rng(seed)
    x, w = make(seed, n, n_features, density), rng.standard_normal((n_features, d)).astype(np.float32)
    rows = rng.integers(0, n, 5)
    out = np.full((5, d), np.nan, np.float32)
    input_forward(*csr(x), rows, np.zeros(5, np.uint64), 1.0, w, out)
    np.testing.assert_allclose(out, x.toarray()[rows] @ w, rtol=1e-4, atol=1e-5)


@given(**SHAPES)
@settings(deadline=None, max_examples=60)
def test_backward_steps_the_rows_of_the_features(seed, n, n_features, d, density):
    """Plain SGD subtracts lr * X.T @ delta, summed over the instances."""
    rng = np.random.default_rng(seed)
    x, w = make(seed, n, n_features, density), rng.standard_normal((n_features, d)).astype(np.float32)
    rows, delta = rng.integers(0, n, 4), rng.standard_normal((4, d)).astype(np.float32)
    expected = w - 0.1 * (x.toarray()[rows].T @ delta)
    seeds = np.zeros(4, np.uint64)
    input_backward(*csr(x), rows, seeds, 1.0, delta, SGD, *states(w), 0.1, HYPER, 1)
    np.testing.assert_allclose(w, expected, rtol=1e-4, atol=1e-5)


def test_backward_steps_one_instance_after_the_other():
    """Adagrad sees each instance's gradient by itself, not their sum."""
    x = sp.csr_array(np.array([[2.0], [-2.0]], np.float32))
    w = np.zeros((1, 1), np.float32)
    arrays, delta = states(w), np.ones((2, 1), np.float32)
    rows = np.array([0, 1])
    input_backward(*csr(x), rows, np.zeros(2, np.uint64), 1.0, delta, ADAGRAD, *arrays, 0.1, HYPER, 1)
    np.testing.assert_allclose(arrays[1], [[8.0]])
    np.testing.assert_allclose(w, [[-0.1 * (1.0 - 2.0 / np.sqrt(8.0))]], rtol=1e-4)


def test_feature_dropout_is_unbiased_and_the_same_in_both_passes():
    """The mean over many draws is X @ W (5 sigma), and features dropped forward are not stepped."""
    n, keep = 20_000, 0.6
    dense = np.array([[1.0, -2.0, 0.5, 3.0, 1.5]], np.float32)
    x, w = sp.csr_array(dense), np.eye(5, dtype=np.float32)
    rows, out = np.zeros(n, np.int64), np.empty((n, 5), np.float32)
    seeds = np.random.default_rng(5).integers(0, 2**63, n).astype(np.uint64)
    input_forward(*csr(x), rows, seeds, keep, w, out)
    sigma = np.abs(dense[0]) * np.sqrt((1 - keep) / keep / n)
    assert np.all(np.abs(out.mean(axis=0) - dense[0]) < 5 * sigma)
    for i in range(20):
        w = np.eye(5, dtype=np.float32)
        delta = np.ones((1, 5), np.float32)
        tail = (SGD, *states(w), 1.0, HYPER, 1)
        input_backward(*csr(x), rows[:1], seeds[i : i + 1], keep, delta, *tail)
        np.testing.assert_allclose((np.eye(5) - w)[:, 0], out[i], rtol=1e-5)


def test_threads_on_disjoint_features_equal_the_serial_result_bit_for_bit():
    """Two HOGWILD threads whose instances share no feature change nothing of each other's rows."""
    rng = np.random.default_rng(3)
    n, half, d = 400, 50, 33
    columns = [rng.choice(half, 8, replace=False) + half * (i % 2) for i in range(n)]
    x = sp.csr_array(
        (rng.standard_normal(8 * n).astype(np.float32), np.concatenate(columns), 8 * np.arange(n + 1)),
        shape=(n, 2 * half),
    )
    start, delta = rng.standard_normal((2 * half, d)).astype(np.float32), rng.standard_normal((n, d))
    delta = delta.astype(np.float32)

    def train(w: np.ndarray, arrays: tuple[np.ndarray, ...], parity: int) -> None:
        rows = np.arange(parity, n, 2)
        tail = (ADAGRAD, *arrays, 0.1, HYPER, 1)
        chosen = np.ascontiguousarray(delta[rows])
        for _ in range(20):
            input_backward(*csr(x), rows, np.zeros(len(rows), np.uint64), 1.0, chosen, *tail)

    serial, parallel = states(start.copy()), states(start.copy())
    for parity in (0, 1):
        train(serial[0], serial, parity)
    threads = [threading.Thread(target=train, args=(parallel[0], parallel, p)) for p in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(serial[0], parallel[0])
    np.testing.assert_array_equal(serial[1], parallel[1])


def test_an_instance_whose_gradient_is_too_long_steps_nothing_and_is_counted():
    """NaN, infinite or huge gradients leave their rows alone; so does none, which is not counted."""
    x = sp.csr_array(np.eye(5, dtype=np.float32))
    w = np.ones((5, 2), np.float32)
    delta = np.array([[np.nan, 0], [1, 1], [1e16, 0], [0, 0], [0, -np.inf]], np.float32)
    rows, seeds = np.arange(5), np.zeros(5, np.uint64)
    left_out = input_backward(*csr(x), rows, seeds, 1.0, delta, SGD, *states(w), 0.5, HYPER, 1)
    assert left_out == 3
    np.testing.assert_array_equal(w, [[1, 1], [0.5, 0.5], [1, 1], [1, 1], [1, 1]])
