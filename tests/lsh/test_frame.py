"""The frame that rows are hashed in: taken at a build, found out when the rows have left it."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.lsh import Frame, HashSpec, Tables, mean_row, table_specs
from distlsh.lsh.frame import HEADROOM

NONE = np.zeros(0, np.int32)


def framed(n=3000, d=24, center=True, norms=False, seed=0):
    weights = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32) + 5
    spec = HashSpec("cross_polytope", 1, 2, 0, d, dim=8)
    arrays = {item.name: np.zeros(item.shape, item.dtype) for item in table_specs(spec, n, 4)}
    tables, frame = Tables(arrays, 0), Frame(n, center=center, norms=norms)
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
    assert frame.fits(tables, weights, NONE)
    weights += np.random.default_rng(1).standard_normal(weights.shape).astype(np.float32)
    assert frame.fits(tables, weights, NONE)


@pytest.mark.parametrize(("shift", "fits"), [(0.1, True), (0.4, False)])
def test_a_common_shift_is_measured_by_the_rows_spread(shift, fits):
    """Rows of spread sqrt(d) leave the frame when all move by more than a fifth of that."""
    frame, tables, weights = framed()
    assert frame.fits(tables, weights + np.float32(shift), NONE) is fits


def test_without_a_center_rows_may_move_together():
    """Nothing is subtracted, so nothing can be out of date."""
    frame, tables, weights = framed(center=False)
    assert frame.fits(tables, weights + 100, NONE)


def test_equal_rows_fit_until_they_move():
    """A spread of zero divides nothing."""
    frame, tables, weights = framed()
    weights[:] = 1
    frame.take(tables, weights)
    assert frame.fits(tables, weights, NONE)
    assert not frame.fits(tables, weights + 1, NONE)


def test_max_norm_is_the_longest_rows_length_from_the_center_and_some():
    """Only where a transform asks for it."""
    _, tables, weights = framed(norms=True)
    longest = np.linalg.norm(weights - weights.mean(0), axis=1).max()
    assert tables.max_norm[0] == pytest.approx(HEADROOM * longest, rel=1e-5)
    assert not framed()[1].max_norm.any()


def test_a_changed_row_that_outgrew_max_norm_leaves_the_frame():
    """Growth within the headroom does not, nor does a row that was not changed, which is not read."""
    frame, tables, weights = framed(norms=True)
    row = np.int32([np.linalg.norm(weights - tables.center, axis=1).argmax()])
    away = weights[row] - tables.center
    weights[row] = tables.center + 1.1 * away
    assert frame.fits(tables, weights, row)
    weights[row] = tables.center + 1.3 * away
    assert not frame.fits(tables, weights, row)
    assert frame.fits(tables, weights, NONE)


def test_rows_of_zeros_get_a_max_norm_that_can_be_divided_by():
    """A network may start from zeros."""
    frame, tables, weights = framed(norms=True)
    weights[:] = 0
    frame.take(tables, weights)
    assert tables.max_norm[0] == 1


def test_mean_row_reads_more_rows_than_a_batch():
    """The last, shorter batch counts too."""
    weights = np.random.default_rng(2).standard_normal((9001, 3)).astype(np.float32)
    np.testing.assert_allclose(mean_row(weights), weights.mean(0, dtype=float), atol=1e-6)
