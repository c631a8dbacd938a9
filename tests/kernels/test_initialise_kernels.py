"""First values of weights: their distribution, and centroids."""

from __future__ import annotations

import numpy as np
from scipy import stats

from distlsh.kernels.initialise import add_to_labels, finish_centroids, gaussian_rows


def test_values_are_nearly_normal():
    """200,000 values have the normal's moments and distribution function (false alarm below 1e-5)."""
    w = np.zeros((200, 1000), np.float32)
    gaussian_rows(w, 0, 200, 2.0, 7)
    x = w.ravel() / 2.0
    n = len(x)
    assert abs(x.mean()) < 4.5 / np.sqrt(n)
    assert abs(x.std() - 1) < 4.5 / np.sqrt(2 * n)
    assert abs(stats.skew(x)) < 4.5 * np.sqrt(6 / n)
    assert abs(stats.kurtosis(x)) < 0.04 + 4.5 * np.sqrt(24 / n)
    assert stats.kstest(x, "norm").statistic < 0.003 + 2.5 / np.sqrt(n)


def test_rows_and_columns_are_uncorrelated():
    """No two rows, and no two columns, resemble each other more than independent ones would."""
    w = np.zeros((256, 256), np.float32)
    gaussian_rows(w, 0, 256, 1.0, 1)
    for side in (w, w.T):
        correlation = np.corrcoef(side) - np.eye(256)
        assert np.abs(correlation).max() < 6.0 / np.sqrt(256)


def test_a_row_is_a_function_of_seed_and_number():
    """Filling ranges one by one gives the rows of filling all at once; another seed other rows."""
    whole, parts, other = np.zeros((3, 10, 17), np.float32)
    gaussian_rows(whole, 0, 10, 1.0, 5)
    for first, last in ((7, 10), (0, 3), (3, 7)):
        gaussian_rows(parts, first, last, 1.0, 5)
    gaussian_rows(other, 0, 10, 1.0, 6)
    np.testing.assert_array_equal(whole, parts)
    assert np.all(whole != other)


def test_centroids_by_hand():
    """Sums over multi-label instances become means or unit vectors; unseen labels small and random."""
    label_indptr, labels = np.array([0, 2, 2, 3]), np.array([0, 2, 2], np.int32)
    hidden = np.array([[3.0, 4.0], [9.0, 9.0], [1.0, 0.0]], np.float32)
    for unit in (False, True):
        w = np.zeros((4, 2), np.float32)
        add_to_labels(label_indptr, labels, np.arange(3), hidden, w)
        np.testing.assert_array_equal(w, [[3, 4], [0, 0], [4, 4], [0, 0]])
        finish_centroids(w, np.array([1, 0, 2, 0]), 0, 4, unit, 0.01, 3)
        expected = [[0.6, 0.8], [0.5**0.5, 0.5**0.5]] if unit else [[3, 4], [2, 2]]
        np.testing.assert_allclose(w[[0, 2]], expected, rtol=1e-6)
        unseen = w[[1, 3]]
        assert np.all(unseen != 0) and np.all(np.abs(unseen) < 0.06)
