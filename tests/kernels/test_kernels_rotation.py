from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from distlsh.kernels.blocks import load_dense
from distlsh.kernels.rotation import N_OWN, N_SHARED, fill_signs, rotated_coordinates


def rotated(rows, center, signs, rotation):
    width = signs.shape[1]
    n_blocks = -(-len(rows) // 16)
    lines = np.full((n_blocks, width, 16), np.nan, np.float32)
    load_dense(rows, center, np.float32(0), lines)
    out = np.empty((n_blocks, (rotation + 1) * width, 16), np.float32)
    rotated_coordinates(lines, signs, np.empty((width, 16), np.float32), out)
    return out[:, rotation * width :].transpose(0, 2, 1).reshape(-1, width)[: len(rows)]


def slow_rotated(rows, center, signs, rotation):
    width = signs.shape[1]
    values = np.zeros((len(rows), width))
    values[:, : rows.shape[1]] = rows - center
    own = range(N_SHARED + rotation * N_OWN, N_SHARED + (rotation + 1) * N_OWN)
    for row in [*range(N_SHARED), *own]:
        values = (values * signs[row]) @ hadamard(width)
    return values


def signs_of(seed, n_rotations, width):
    signs = np.empty((N_SHARED + n_rotations * N_OWN, width), np.float32)
    fill_signs(np.uint64(seed), signs)
    return signs


@settings(max_examples=40, deadline=None)
@given(
    levels=st.integers(6, 12),
    missing=st.floats(0, 0.99),
    m=st.integers(1, 35),
    rotation=st.integers(0, 2),
    seed=st.integers(0, 2**32),
)
def test_rotation_is_signs_and_hadamard(levels, missing, m, rotation, seed):
    """A rotation is rounds of signs and SciPy's Hadamard matrix, whatever the width, padding and batch."""
    width = 1 << levels
    n_dims = max(1, int(width * (1 - missing)))
    random = np.random.default_rng(seed)
    rows = random.standard_normal((m, n_dims)).astype(np.float32)
    center = random.standard_normal(n_dims).astype(np.float32)
    signs = signs_of(seed, 3, width)
    expected = slow_rotated(rows, center, signs, rotation)
    got = rotated(rows, center, signs, rotation)
    np.testing.assert_allclose(got, expected, atol=2e-6 * np.abs(expected).max(initial=1e-30))


def test_small_integers_rotate_exactly():
    """Additions in a fixed order: where every sum fits 24 bits the result is exact."""
    rows = np.random.default_rng(3).integers(-8, 9, (33, 61)).astype(np.float32)
    signs = signs_of(9, 2, 64)
    center = np.ones(61, np.float32)
    np.testing.assert_array_equal(rotated(rows, center, signs, 1), slow_rotated(rows, center, signs, 1))


def test_signs_are_balanced_and_differ_by_seed():
    """Signs are +-1, about half of each (six sigma), and another seed gives others."""
    signs, others = signs_of(1, 40, 1024), signs_of(2, 40, 1024)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.sum()) < 6 * np.sqrt(signs.size)
    assert abs((signs * others).sum()) < 6 * np.sqrt(signs.size)
    np.testing.assert_array_equal(signs, signs_of(1, 40, 1024))


def test_strided_rows_are_refused():
    """The signature takes C order alone."""
    rows = np.zeros((4, 128), np.float32)[:, ::2]
    with pytest.raises(TypeError):
        rotated(rows, np.zeros(64, np.float32), signs_of(1, 1, 64), 0)
