"""The optimisers' row steps against dense optimisers in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.kernels.optim import ADAGRAD, ADAGRAD_ROW, ADAM, MOMENTUM, SGD, update_rows

LR, BETA1, BETA2, EPS = 0.05, 0.9, 0.99, 1e-6


class Dense:
    """A dense optimiser of one row, as its paper writes it; ``gap`` steps since the last."""

    def __init__(self, code: int, w: np.ndarray) -> None:
        self.code, self.w = code, w.astype(np.float64)
        self.a, self.b = np.zeros_like(self.w), np.zeros_like(self.w)

    def step(self, g: np.ndarray, t: int, gap: int = 1) -> None:
        if self.code == SGD:
            self.w -= LR * g
        elif self.code == MOMENTUM:
            self.a = BETA1**gap * self.a + g
            self.w -= LR * self.a
        elif self.code == ADAM:
            self.a = BETA1**gap * self.a + (1 - BETA1) * g
            self.b = BETA2**gap * self.b + (1 - BETA2) * g * g
            self.w -= LR * self.a / (1 - BETA1**t) / (np.sqrt(self.b / (1 - BETA2**t)) + EPS)
        else:
            self.a = self.a + (g * g if self.code == ADAGRAD else np.mean(g * g))
            self.w -= LR * g / (np.sqrt(self.a) + EPS)


def row_state(code: int, w: np.ndarray) -> tuple[np.ndarray, ...]:
    width = 1 if code == ADAGRAD_ROW else w.shape[1]
    first = np.zeros((1, 1) if code == SGD else (len(w), width), np.float32)
    second = np.zeros(w.shape if code == ADAM else (1, 1), np.float32)
    return w, first, second, np.zeros(len(w), np.int64)


def apply(code: int, arrays: tuple[np.ndarray, ...], g: np.ndarray, t: int) -> None:
    hyper = np.array([BETA1, BETA2, EPS], np.float32)
    update_rows(code, *arrays, np.ascontiguousarray(g, np.float32), LR, hyper, t)


ALL = pytest.mark.parametrize("code", [SGD, MOMENTUM, ADAGRAD, ADAGRAD_ROW, ADAM])


@ALL
@given(n=st.integers(1, 4), d=st.integers(1, 70), steps=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_rows_touched_at_every_step_get_the_dense_optimiser(code, n, d, steps, seed):
    """Rows stepped at every step have the weights a dense optimiser gives them."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((n, d)).astype(np.float32)
    dense = [Dense(code, w[i]) for i in range(n)]
    arrays = row_state(code, w)
    for t in range(1, steps + 1):
        g = rng.standard_normal((n, d)).astype(np.float32)
        apply(code, arrays, g, t)
        for i in range(n):
            dense[i].step(g[i].astype(np.float64), t)
    np.testing.assert_allclose(w, np.array([row.w for row in dense]), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("code", [MOMENTUM, ADAM])
@given(gaps=st.lists(st.integers(1, 50), min_size=1, max_size=8), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_moments_decay_by_the_steps_a_row_was_left_alone(code, gaps, seed):
    """A row untouched for k steps decays its moments by beta**k when it is next touched."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((1, 5)).astype(np.float32)
    dense, arrays, t = Dense(code, w[0]), row_state(code, w), 0
    for gap in gaps:
        t += gap
        g = rng.standard_normal((1, 5)).astype(np.float32)
        apply(code, arrays, g, t)
        dense.step(g[0].astype(np.float64), t, gap)
    np.testing.assert_allclose(w[0], dense.w, rtol=2e-4, atol=2e-4)
    assert arrays[3][0] == t


@pytest.mark.parametrize("code", [MOMENTUM, ADAM])
def test_a_late_step_decays_once_and_leaves_the_clock(code):
    """A worker that is behind another decays the moments once and does not turn the clock back."""
    w = np.ones((1, 3), np.float32)
    arrays = row_state(code, w)
    arrays[1][:] = 1.0
    arrays[3][0] = 100
    apply(code, arrays, np.zeros((1, 3)), 90)
    np.testing.assert_allclose(arrays[1], BETA1, rtol=1e-6)
    assert arrays[3][0] == 100


def test_adagrad_of_zero_gradients_divides_nothing_by_zero():
    """A gradient of zero on a fresh accumulator leaves the weights, without NaN."""
    for code in (ADAGRAD, ADAGRAD_ROW, ADAM):
        w = np.full((2, 3), 0.5, np.float32)
        apply(code, row_state(code, w), np.zeros((2, 3)), 1)
        np.testing.assert_array_equal(w, np.full((2, 3), 0.5, np.float32))


def test_wrong_arrays_are_refused():
    """float64 weights and strided gradients raise a TypeError instead of being converted."""
    arrays = row_state(SGD, np.ones((2, 4), np.float32))
    hyper = np.zeros(3, np.float32)
    with pytest.raises(TypeError):
        update_rows(SGD, np.ones((2, 4)), *arrays[1:], np.ones((2, 4), np.float32), LR, hyper, 1)
    with pytest.raises(TypeError):
        update_rows(SGD, *arrays, np.ones((2, 8), np.float32)[:, ::2], LR, hyper, 1)
