"""Rows in float32 and in bfloat16: loading, rounding at random, and the kernels that do both."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import F4_1, F4_2, U2_1, f4, i8, u4, void
from distlsh.kernels.input_layer import input_forward
from distlsh.kernels.stored_rows import put, salt_of, value_at
from distlsh.kernels.topk import candidate_topk
from distlsh.model.storage import HalfRows, as_floats

U2_2 = F4_2.copy(dtype=U2_1.dtype)


@kernel(void(U2_2, F4_1, u4), void(F4_2, F4_1, u4))
def _store(rows, values, salt):
    for j in range(values.shape[0]):
        put(rows, 0, j, values[j], salt)


@kernel(f4(U2_2, i8), f4(F4_2, i8))
def _load(rows, j):
    return value_at(rows, 0, j)


def _halves(values: np.ndarray) -> np.ndarray:
    """Return values that bfloat16 holds exactly, as it stores them."""
    return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def test_what_bfloat16_holds_is_stored_and_loaded_as_it_is() -> None:
    """Numbers with 8 bits of precision, infinities and zeros come back the same, whatever the salt."""
    values = np.array([0.0, -0.0, 1.0, -1.5, 2.0**-120, -3.0e38, np.inf, -np.inf], np.float32)
    values = as_floats(_halves(values)).copy()
    rows = np.zeros((1, len(values)), np.uint16)
    for salt in range(50):
        _store(rows, values, salt)
        np.testing.assert_array_equal(as_floats(rows)[0].view(np.uint32), values.view(np.uint32))
        assert [_load(rows, j) for j in range(len(values))] == list(values)


def test_nan_stays_nan() -> None:
    """A NaN is not rounded to a number: damage must stay visible."""
    rows = np.zeros((1, 1), np.uint16)
    for salt in range(200):
        _store(rows, np.array([np.nan], np.float32), salt)
        assert np.isnan(_load(rows, 0))


def test_float32_rows_are_stored_unrounded() -> None:
    """The salt means nothing to float32 rows."""
    rows, values = np.zeros((1, 3), np.float32), np.array([0.1, -7.7, 1e-30], np.float32)
    _store(rows, values, 12345)
    np.testing.assert_array_equal(rows[0], values)
    assert _load(rows, 1) == values[1]


@pytest.mark.parametrize("share", [0.02, 0.25, 0.5, 0.9])
def test_rounding_goes_up_with_the_probability_of_the_remainder(share: float) -> None:
    """A value at a share of the way between two neighbours is rounded up in that share of draws.

    5 standard deviations of 200,000 draws: a false alarm in 2 million.
    """
    step = 2.0**-7
    values = np.full(1000, 1.0 + share * step, np.float32)
    ups, n = 0, 0
    for salt in np.random.default_rng(1).integers(0, 2**32, 200, dtype=np.uint32):
        rows = np.zeros((1, 1000), np.uint16)
        _store(rows, values, salt)
        found = as_floats(rows)[0]
        assert set(np.unique(found)) <= {np.float32(1.0), np.float32(1.0 + step)}
        ups, n = ups + int((found > 1.0).sum()), n + 1000
    assert abs(ups / n - share) < 5 * np.sqrt(share * (1 - share) / n)


def test_neighbouring_columns_and_salts_round_independently() -> None:
    """Draws of adjacent columns, and of adjacent salts, are not correlated: |r| < 0.02 for 90,000 pairs."""
    values = np.full(300, 1.0 + 0.5 * 2.0**-7, np.float32)
    draws = np.empty((301, 300))
    for salt in range(301):
        rows = np.zeros((1, 300), np.uint16)
        _store(rows, values, salt)
        draws[salt] = as_floats(rows)[0] > 1.0
    assert abs(np.corrcoef(draws[:, :-1].ravel(), draws[:, 1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]) < 0.02


def test_small_updates_are_not_lost() -> None:
    """A thousand additions of a hundredth of a bfloat16 step move a value by about ten steps."""
    step, values = 2.0**-7, np.ones(2000, np.float32)
    rows = _halves(values)[None].copy()
    for i in range(1000):
        _store(rows, as_floats(rows)[0] + np.float32(step / 100), np.uint32(i * 40503 + 7))
    moved = (as_floats(rows)[0] - 1.0) / step
    assert moved.mean() == pytest.approx(10, abs=0.5)


def test_salts_of_rows_and_seeds_differ() -> None:
    """Two rows of a sample, and a row in two samples, have different salts."""

    @kernel(u4(i8, i8))
    def salt(seed, row):
        return salt_of(seed, row)

    assert len({salt(a, b) for a in range(100) for b in range(100)}) > 9_990


def test_half_rows_read_like_floats() -> None:
    """Slices and lists of rows, length and shape, as of the float32 array."""
    values = as_floats(_halves(np.random.default_rng(1).standard_normal((7, 5)))).copy()
    rows = HalfRows(_halves(values))
    assert rows.shape == (7, 5) and len(rows) == 7
    np.testing.assert_array_equal(rows[2:4], values[2:4])
    np.testing.assert_array_equal(rows[np.array([6, 0])], values[[6, 0]])


def test_forward_and_scores_are_those_of_the_values() -> None:
    """`input_forward` and `candidate_topk` give the same for the same rows stored either way."""
    rng = np.random.default_rng(2)
    weights = as_floats(_halves(rng.standard_normal((20, 37)))).copy()
    halves = _halves(weights)
    indptr, indices = np.array([0, 6, 9], np.int64), rng.integers(0, 20, 9).astype(np.int32)
    csr = (indptr, indices, rng.random(9, np.float32), np.arange(2), np.zeros(2, np.uint64), 1.0)
    outs = [np.empty((2, 37), np.float32) for _ in range(2)]
    input_forward(*csr, weights, outs[0])
    input_forward(*csr, halves, outs[1])
    np.testing.assert_allclose(outs[0], outs[1], rtol=1e-5, atol=1e-6)
    candidates, counts = np.tile(np.arange(20, dtype=np.int32), (2, 1)), np.full(2, 20, np.int32)
    found = [(np.empty((2, 3), np.int32), np.empty((2, 3), np.float32)) for _ in range(2)]
    for rows, (ids, scores) in zip((weights, halves), found, strict=True):
        candidate_topk(outs[0], rows, np.empty(0, np.float32), 2.0, candidates, counts, ids, scores)
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-5)


def test_float32_compiles_no_kernel_for_bfloat16() -> None:
    """A run in float32 compiles and loads what it did before; the other is made when it is called."""
    import subprocess
    import sys

    program = (
        "import distlsh.runtime.worker, distlsh.kernels.output_layer as o, distlsh.kernels.input_layer as i;"
        "print([len(k.signatures) for k in (o.output_step, i.input_forward, i.input_backward)])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[1, 1, 1]"
