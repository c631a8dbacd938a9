"""The output layer's kernels against a slow float64 version, and their statistics."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.kernels.losses import BCE, SOFTMAX
from distlsh.kernels.optim import ADAGRAD, MOMENTUM, SGD
from distlsh.kernels.output_layer import dense_output_step, output_step
from distlsh.model.counters import N_COUNTERS, Counter

HYPER = np.array([1.0, 0.0, 1e-6], np.float32)
DUMMY = (np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32), np.zeros(1, np.int64))


@dataclass
class Layer:
    """An output layer with its states, and one call of each kernel."""

    w: np.ndarray
    bias: np.ndarray | None = None
    loss: int = SOFTMAX
    log_q: bool = False
    scale: float = 1.0
    tau: float = 0.0
    code: int = SGD
    lr: float = 0.0
    counters: np.ndarray = field(default_factory=lambda: np.zeros(N_COUNTERS))

    def __post_init__(self) -> None:
        self.w = self.w.astype(np.float32)
        self.dirty = np.zeros(len(self.w), np.uint8)
        state = np.zeros_like(self.w) if self.code != SGD else DUMMY[0]
        clock = np.zeros(len(self.w), np.int64) if self.code == MOMENTUM else DUMMY[2]
        self.block = (self.w, state, DUMMY[0], clock)
        self.use_bias = self.bias is not None
        bias = DUMMY[0] if self.bias is None else self.bias.astype(np.float32)
        bias_state = np.zeros_like(bias) if self.code != SGD else DUMMY[0]
        self.bias_block = (bias, bias_state, DUMMY[0], np.zeros(len(bias), np.int64))

    def _tail(self, m: int, cap: int) -> tuple:
        self.grad = np.full((m, self.w.shape[1]), np.nan, np.float32)
        scratch = (np.empty(cap, np.float32), np.empty(cap, np.int32), self.grad, self.counters)
        layer = (*self.block, *self.bias_block, self.use_bias, self.dirty)
        return (self.code, *layer, self.lr, HYPER, 1, *scratch)

    def step(self, active, bounds, hidden, seeds=None) -> np.ndarray:
        m = len(hidden)
        seeds = np.zeros(m, np.uint64) if seeds is None else seeds
        head = (active, bounds, hidden, seeds, self.loss, self.log_q, self.scale, self.tau)
        output_step(*head, *self._tail(m, active.shape[1]))
        return self.grad

    def dense_step(self, label_lists, hidden, order=None) -> np.ndarray:
        m, n = len(hidden), len(self.w)
        indptr = np.cumsum([0, *map(len, label_lists)]).astype(np.int64)
        labels = np.array([x for row in label_lists for x in row], np.int32)
        order, place = np.arange(n, dtype=np.int32)[None], np.arange(n, dtype=np.int32)
        lists = (indptr, labels, np.arange(m), order, place, np.empty(n, np.int32))
        head = (*lists, hidden, np.zeros(m, np.uint64), self.loss, self.scale, self.tau)
        dense_output_step(*head, *self._tail(m, n))
        np.testing.assert_array_equal(order[0], np.arange(n))
        np.testing.assert_array_equal(place, np.arange(n))
        return self.grad


def slow_sample(layer: Layer, w, bias, active, b0, b1, b2, h):
    """Return loss, gradient to h, and gradients to the active rows and biases, in float64."""
    ids = active[:b2]
    z = layer.scale * w[ids] @ h + bias[ids]
    if layer.log_q and b2 > b1:
        z[b1:] += np.log((len(w) - b1) / (b2 - b1))
    target = np.zeros(b2)
    if layer.loss == SOFTMAX:
        if b0 == 0:
            return 0.0, np.zeros_like(h), np.zeros((b2, len(h))), np.zeros(b2)
        target[:b0] = 1 / b0
        lse = np.log(np.exp(z - z.max()).sum()) + z.max()
        loss, c = -(target * (z - lse)).sum(), np.exp(z - lse) - target
    else:
        target[:b0] = 1
        loss, c = (np.logaddexp(0, z) - target * z).sum(), 1 / (1 + np.exp(-z)) - target
    return loss, layer.scale * c @ w[ids], layer.scale * np.outer(c, h), c


def draw(seed: int, m: int, n: int, d: int):
    rng = np.random.default_rng(seed)
    w, hidden = rng.standard_normal((n, d)), rng.standard_normal((m, d)).astype(np.float32)
    cap = int(rng.integers(1, n + 1))
    active = np.array([rng.permutation(n)[:cap] for _ in range(m)], np.int32)
    bounds = np.sort(rng.integers(0, cap + 1, (m, 3)), axis=1).astype(np.int32)
    return w.astype(np.float32), rng.standard_normal((n, 1)), hidden, active, bounds


@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 4),
    n=st.integers(1, 12),
    d=st.integers(1, 40),
    loss=st.sampled_from([SOFTMAX, BCE]),
    use_bias=st.booleans(),
    log_q=st.booleans(),
    code=st.sampled_from([SGD, ADAGRAD]),
)
@settings(deadline=None, max_examples=150)
def test_a_batch_equals_the_slow_version(seed, m, n, d, loss, use_bias, log_q, code):
    """Loss, hidden gradients, rows, biases, dirty marks and counts of any batch are the slow version's."""
    w, bias, hidden, active, bounds = draw(seed, m, n, d)
    log_q = log_q and loss == SOFTMAX
    layer = Layer(w.copy(), bias if use_bias else None, loss, log_q, 0.7, 0.0, code, 0.05)
    layer.step(active, bounds, hidden)
    w, bias = w.astype(np.float64), bias.astype(np.float64) * use_bias
    squares, bias_squares, losses, dirty = np.zeros_like(w), np.zeros_like(bias), 0.0, np.zeros(n)
    for s in range(m):
        b0, b1, b2 = bounds[s]
        ids = active[s, :b2]
        value, grad, rows, c = slow_sample(layer, w, bias[:, 0], active[s], b0, b1, b2, hidden[s])
        losses += value
        np.testing.assert_allclose(layer.grad[s], grad, rtol=2e-3, atol=2e-3)
        squares[ids] += rows**2
        bias_squares[ids, 0] += c**2
        if code == ADAGRAD:
            rows = rows / (np.sqrt(squares[ids]) + 1e-6)
            c = c / (np.sqrt(bias_squares[ids, 0]) + 1e-6)
        w[ids] -= 0.05 * rows
        bias[ids, 0] -= 0.05 * c * use_bias
        trained = loss == BCE or b0 > 0
        dirty[ids[np.abs(c) > 0]] = 1 if trained else dirty[ids[np.abs(c) > 0]]
    # Adagrad turns a gradient lost to rounding into a whole step, so tiny ones are left out.
    firm = np.sqrt(squares) > 1e-4 if code == ADAGRAD else np.ones_like(w, bool)
    np.testing.assert_allclose(np.where(firm, layer.w, 0), np.where(firm, w, 0), rtol=2e-3, atol=2e-3)
    if use_bias and firm.all():
        np.testing.assert_allclose(layer.bias_block[0], bias, rtol=2e-3, atol=2e-3)
    assert layer.counters[Counter.LOSS] == pytest.approx(losses, rel=1e-4, abs=1e-4)
    assert layer.counters[Counter.SAMPLES] == m
    assert layer.counters[Counter.ACTIVE] == bounds[:, 2].sum()
    assert layer.counters[Counter.RETRIEVED] == (bounds[:, 1] - bounds[:, 0]).sum()
    assert set(np.flatnonzero(layer.dirty)) <= set(np.flatnonzero(dirty))


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12), loss=st.sampled_from([SOFTMAX, BCE]))
@settings(deadline=None, max_examples=60)
def test_dense_output_is_the_list_of_all_neurons(seed, n, loss):
    """The dense kernel equals the sparse one given labels first and then all others; repeats count once."""
    rng = np.random.default_rng(seed)
    w, hidden = rng.standard_normal((n, 7)), rng.standard_normal((3, 7)).astype(np.float32)
    labels = [list(rng.permutation(n)[: rng.integers(0, n + 1)]) for _ in range(3)]
    active = np.array([row + [x for x in range(n) if x not in row] for row in labels], np.int32)
    bounds = np.array([[len(row), n, n] for row in labels], np.int32)
    sparse, dense = (Layer(w, None, loss, code=SGD, lr=0.1) for _ in range(2))
    sparse.step(active, bounds, hidden)
    dense.dense_step([row + row[:1] for row in labels], hidden)
    np.testing.assert_allclose(dense.w, sparse.w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dense.grad, sparse.grad, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dense.counters[:5], sparse.counters[:5], rtol=1e-5)


@pytest.mark.parametrize("loss", [SOFTMAX, BCE])
def test_huge_logits_give_a_finite_loss_and_gradient(loss):
    """Logits of +-10,000 overflow neither loss."""
    layer = Layer(np.array([[1.0], [-1.0], [0.5]]), loss=loss, scale=10_000.0)
    grad = layer.step(
        np.array([[1, 0, 2]], np.int32), np.array([[1, 3, 3]], np.int32), np.ones((1, 1), np.float32)
    )
    assert np.isfinite(grad).all()
    expected = 20_000 if loss == SOFTMAX else 10_000 + 10_000 + 5_000
    assert layer.counters[Counter.LOSS] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_counted_and_changes_nothing(bad):
    """A NaN or inf in a row is counted as a sample, spreads to no other row and adds to no loss."""
    w = np.array([[1.0, 2.0], [bad, 0.0], [3.0, 1.0]])
    layer = Layer(w, code=ADAGRAD, lr=0.1)
    active, bounds = np.array([[0, 1], [0, 2]], np.int32), np.array([[1, 2, 2]] * 2, np.int32)
    grad = layer.step(active, bounds, np.ones((2, 2), np.float32))
    assert layer.counters[Counter.NON_FINITE] == 1
    assert layer.counters[Counter.SAMPLES] == 2 and layer.counters[Counter.LABELLED] == 1
    assert np.isfinite(layer.counters[Counter.LOSS])
    np.testing.assert_array_equal(grad[0], [np.nan, 0.0])  # a mark for whoever goes on with the gradient
    assert np.isfinite(layer.w[[0, 2]]).all() and not layer.dirty[1]


def test_a_gradient_too_long_to_be_squared_is_counted_and_marked():
    """Rows of 1e30 with a finite loss give a gradient whose length is no float32: the sample is marked."""
    w = np.array([[1e30, 0.0], [-1e30, 0.0], [1.0, 1.0]])
    layer = Layer(w, code=ADAGRAD, lr=0.1)
    active, bounds = np.array([[0, 1], [0, 2]], np.int32), np.array([[1, 2, 2]] * 2, np.int32)
    grad = layer.step(active, bounds, np.array([[0.0, 1.0], [0.0, 0.0]], np.float32))
    assert layer.counters[Counter.NON_FINITE] == 2 and layer.counters[Counter.LABELLED] == 2
    assert np.isnan(grad[:, 0]).all() and np.isfinite(layer.w).all()


def test_stochastic_skip_is_unbiased():
    """The mean of 40,000 rounded gradients, to the hidden vector and to every row, is the exact one.

    Bounds are 5 standard errors; 16 comparisons give a false alarm in 100,000 runs.
    """
    rng, m, n, d = np.random.default_rng(1), 40_000, 12, 3
    w, h = rng.standard_normal((n, d)) * 1.5, rng.standard_normal(d).astype(np.float32)
    active, bounds = np.tile(np.arange(n, dtype=np.int32), (m, 1)), np.tile(np.int32([1, n, n]), (m, 1))
    hidden, seeds = np.tile(h, (m, 1)), rng.integers(0, 2**63, m).astype(np.uint64)
    # Momentum with beta 1 and rate 0 keeps the weights and sums the gradients.
    exact, rounded = (Layer(w, tau=tau, code=MOMENTUM) for tau in (0.0, 0.2))
    exact.step(active[:1], bounds[:1], hidden[:1])
    rounded.step(active, bounds, hidden, seeds)
    c = exact.block[1][:, 0] / h[0]
    assert 0 < rounded.counters[Counter.ROWS_UPDATED] / m < n - 1
    error = 5 * rounded.grad.std(axis=0) / np.sqrt(m) + 1e-5
    assert np.all(np.abs(rounded.grad.mean(axis=0) - exact.grad[0]) < error)
    tau, float32_sum = 0.2, 1e-3
    variance = np.where(np.abs(c) < tau, np.abs(c) * (tau - np.abs(c)), 0)
    mean = rounded.block[1][:, 0] / h[0] / m
    assert np.all(np.abs(mean - c) < 5 * np.sqrt(variance / m) + float32_sum * np.abs(c))


def test_gradients_of_tau_and_more_are_never_skipped():
    """Only gradients below tau are rounded: larger ones are exact in every draw."""
    m = 500
    layer = Layer(np.array([[1.0], [0.9], [-9.0]]), tau=0.01, code=MOMENTUM)
    active, bounds = np.tile(np.int32([0, 1, 2]), (m, 1)), np.tile(np.int32([1, 3, 3]), (m, 1))
    layer.step(active, bounds, np.ones((m, 1), np.float32), np.arange(m, dtype=np.uint64))
    p = np.exp([1.0, 0.9, -9.0]) / np.exp([1.0, 0.9, -9.0]).sum()
    np.testing.assert_allclose(layer.block[1][:2, 0] / m, [p[0] - 1, p[1]], rtol=1e-3)


def test_log_q_makes_the_sampled_partition_sum_unbiased():
    """With log-Q, the expected partition sum over random draws is the sum over all neurons (5 sigma)."""
    rng, n, r, draws = np.random.default_rng(4), 40, 8, 6_000
    w, h = rng.standard_normal((n, 1)), np.ones((1, 1), np.float32)
    z, sums = w[:, 0], np.empty(draws)
    layer = Layer(w, log_q=True)
    for i in range(draws):
        chosen = 2 + rng.permutation(n - 2)[:r]
        active = np.concatenate([[0, 1], chosen]).astype(np.int32)[None]
        before = layer.counters[Counter.LOSS]
        layer.step(active, np.array([[1, 2, 2 + r]], np.int32), h)
        sums[i] = np.exp(layer.counters[Counter.LOSS] - before + z[0])
    assert abs(sums.mean() - np.exp(z).sum()) < 5 * sums.std() / np.sqrt(draws)


def test_threads_on_disjoint_rows_equal_the_serial_result_bit_for_bit():
    """Two HOGWILD threads whose active sets share no row change nothing of each other's."""
    rng, n, d, m = np.random.default_rng(6), 60, 33, 200
    w = rng.standard_normal((n, d))
    hidden = rng.standard_normal((2, m, d)).astype(np.float32)
    half = [np.array([rng.permutation(n // 2)[:10] for _ in range(m)], np.int32) for _ in (0, 1)]
    active = [half[0], half[1] + np.int32(n // 2)]
    bounds = np.tile(np.int32([1, 10, 10]), (m, 1))

    def layers() -> list[Layer]:
        first = Layer(w, code=ADAGRAD, lr=0.1, tau=0.01)
        second = Layer(w, code=ADAGRAD, lr=0.1, tau=0.01)
        second.block, second.dirty, second.w = first.block, first.dirty, first.w
        return [first, second]

    def train(layer: Layer, part: int) -> None:
        for _ in range(10):
            layer.step(active[part], bounds, hidden[part], np.arange(m, dtype=np.uint64))

    serial, parallel = layers(), layers()
    for part in (0, 1):
        train(serial[part], part)
    threads = [threading.Thread(target=train, args=(parallel[p], p)) for p in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(serial[0].w, parallel[0].w)
    np.testing.assert_array_equal(serial[0].block[1], parallel[0].block[1])
