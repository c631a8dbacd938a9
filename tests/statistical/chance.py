"""Bounds that chance passes once in a million, and data whose similarity is known.

The seeds of all tests here are fixed, so a test that passes keeps passing.  Had they been free,
each bound would be passed by chance with probability 1e-6, and one of all of them (fewer
than 1,000) with less than 1e-3.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

FALSE_ALARM = 1e-6
Z = stats.norm.isf(FALSE_ALARM / 2)


def assert_share(hits, n, share):
    """``hits`` of ``n`` independent trials are ``share``, within the binomial bound."""
    bound = Z * np.sqrt(share * (1 - share) / n) + 1.0 / n
    assert abs(hits / n - share) < bound, (hits / n, share, bound)


def assert_mean(values, expected, at_least=0.0):
    """Independent, equally distributed ``values`` [n] have the mean ``expected``: Student's bound.

    at_least  standard error that is allowed for in any case: of values that are all equal
    """
    n = len(values)
    error = max(np.std(values, ddof=1) / np.sqrt(n), at_least)
    bound = stats.t.isf(FALSE_ALARM / 2, n - 1) * error
    assert abs(np.mean(values) - expected) < bound, (np.mean(values), expected, bound)


def gaussian_pairs(angle, n, n_dims, seed=0):
    """Pairs of Gaussian vectors whose coordinates correlate by cos(angle), whichever way they are turned."""
    one, other = np.random.default_rng(seed).standard_normal((2, n, n_dims))
    return one.astype(np.float32), (np.cos(angle) * one + np.sin(angle) * other).astype(np.float32)


def pairs_at(angle, n, n_dims, seed=0):
    """Pairs of unit vectors at the given angle, uniform over the sphere."""
    one, other = np.random.default_rng(seed).standard_normal((2, n, n_dims))
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    other -= (one * other).sum(1, keepdims=True) * one
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return one.astype(np.float32), (np.cos(angle) * one + np.sin(angle) * other).astype(np.float32)


def pairs_apart(distance, n, n_dims, seed=0):
    """Pairs of Gaussian vectors at the given distance."""
    one, step = np.random.default_rng(seed).standard_normal((2, n, n_dims))
    step *= distance / np.linalg.norm(step, axis=1, keepdims=True)
    return one.astype(np.float32), (one + step).astype(np.float32)


def axis_pairs(angle, n, n_dims, seed=0):
    """Pairs at the given angle in the plane of two coordinate axes: the worst case for fast rotations."""
    random = np.random.default_rng(seed)
    one, other = np.zeros((2, n, n_dims), np.float32)
    axes = np.array([random.choice(n_dims, 2, replace=False) for _ in range(n)])
    rows = np.arange(n)
    one[rows, axes[:, 0]] = 1
    other[rows, axes[:, 0]] = np.cos(angle)
    other[rows, axes[:, 1]] = np.sin(angle)
    return one, other


def set_pairs(both, only_one, only_other, n, n_dims, seed=0):
    """Pairs of sets, as vectors of 0 and 1, with so many elements in both and in one alone."""
    random = np.random.default_rng(seed)
    one, other = np.zeros((2, n, n_dims), np.float32)
    for row in range(n):
        ids = random.choice(n_dims, both + only_one + only_other, replace=False)
        one[row, ids[: both + only_one]] = 1
        other[row, ids[:both]] = 1
        other[row, ids[both + only_one :]] = 1
    return one, other
