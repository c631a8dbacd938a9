"""The frame that rows are hashed in: taken at a build, found out when the rows have left it."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.lsh import Frame, HashSpec, Tables, mean_row, table_specs


def framed(n=3000, d=24, center=True, seed=0):
    weights = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32) + 5
    spec = HashSpec("cross_polytope", 1, 2, 0, d, dim=8)
    arrays = {item.name: np.zeros(item.shape, item.dtype) for item in table_specs(spec, n, 4)}
    tables, frame = Tables(arrays, 0), Frame(n, center=center)
    frame.take(tables, weights)
    return frame, tables, weights


def test_the_center_is_the_mean_of_all_rows():
    """Or zeros where centring is off."""
    _, tables, weights = framed()
    np.testing.assert_allclose(tables.center, weights.mean(0), atol=1e-5)
    assert not framed(center=False)[1].center.any()


def test_rows_that_move_each_their_own_way_keep_the_frame():
    """Training moves rows; only what moves all of them matters."""
    frame, tables, weights = framed()
    assert frame.fits(tables, weights)
    weights += np.random.default_rng(1).standard_normal(weights.shape).astype(np.float32)
    assert frame.fits(tables, weights)


@pytest.mark.parametrize(("shift", "fits"), [(0.1, True), (0.4, False)])
def test_a_common_shift_is_measured_by_the_rows_spread(shift, fits):
    """Rows of spread sqrt(d) leave the frame when all move by more than a fifth of that."""
    frame, tables, weights = framed()
    assert frame.fits(tables, weights + np.float32(shift)) is fits


def test_without_a_center_rows_may_move_together():
    """Nothing is subtracted, so nothing can be out of date."""
    frame, tables, weights = framed(center=False)
    assert frame.fits(tables, weights + 100)


def test_equal_rows_fit_until_they_move():
    """A spread of zero divides nothing."""
    frame, tables, weights = framed()
    weights[:] = 1
    frame.take(tables, weights)
    assert frame.fits(tables, weights)
    assert not frame.fits(tables, weights + 1)


def test_mean_row_reads_more_rows_than_a_batch():
    """The last, shorter batch counts too."""
    weights = np.random.default_rng(2).standard_normal((9001, 3)).astype(np.float32)
    np.testing.assert_allclose(mean_row(weights), weights.mean(0, dtype=float), atol=1e-6)
