"""Probabilities that the largest of several Gaussian pairs is the same in both places.

n independent pairs (X_i, Y_i) of standard normals with correlation cos(angle): the
coordinates of two vectors at that angle under Gaussian projections.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

Doubles = NDArray[np.float64]

_RANGE = 8.5
"""Standard deviations integrated over; beyond them lies less than 1e-16."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(160)
_TINY_ANGLE = 1e-7


def same_magnitude(angle: float, n: int) -> float:
    """Return P(the place and the sign of the largest |X_i| and of the largest |Y_i| are the same).

    2n times the integral over x, y > 0 of the pair's density and P(|X| < x, |Y| < y)^(n-1).
    """
    if angle < _TINY_ANGLE:
        return 1.0
    rho, s = math.cos(angle), math.sin(angle)
    x, x_weights = _nodes(0.0, _RANGE)
    z, z_weights = _nodes(np.maximum(-_RANGE, -rho * x / max(s, 1e-300)), _RANGE)
    y = rho * x[:, None] + s * z
    inside = (y > 0) & (z_weights > 0)
    x_all = np.broadcast_to(x[:, None], y.shape)
    box = np.zeros_like(y)
    box[inside] = _box(x_all[inside], y[inside], rho, s) ** (n - 1)
    return float(2 * n * (_density(x) * x_weights) @ (box * _density(z) * z_weights).sum(axis=1))


def same_argmax(angle: float, n: int) -> float:
    """Return P(the largest X_i and the largest Y_i have the same place).

    n times the integral over x, y of the pair's density and P(X < x, Y < y)^(n-1).
    """
    if angle < _TINY_ANGLE:
        return 1.0
    rho, s = math.cos(angle), math.sin(angle)
    x, x_weights = _nodes(-_RANGE, _RANGE)
    y = rho * x[:, None] + s * x
    quadrant = _quadrant(np.broadcast_to(x[:, None], y.shape), y, rho, s) ** (n - 1)
    density = _density(x) * x_weights
    return float(n * density @ quadrant @ density)


def _nodes(low: Doubles | float, high: float) -> tuple[Doubles, Doubles]:
    """Return Gauss-Legendre nodes and weights [..., 160] of intervals, empty where low is above high."""
    start = np.asarray(low)[..., None]
    half = np.maximum(high - start, 0.0) / 2
    return start + half * (1 + _NODES), half * _WEIGHTS


def _density(x: Doubles) -> Doubles:
    found: Doubles = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return found


def _wedges(x: Doubles, y: Doubles, rho: float, s: float) -> Doubles:
    """Return the two Owen's T terms of P(X < x, Y < y) (Owen 1956, equation 2.1)."""
    found: Doubles = special.owens_t(x, (y - rho * x) / (x * s)) + special.owens_t(y, (x - rho * y) / (y * s))
    return found


def _quadrant(x: Doubles, y: Doubles, rho: float, s: float) -> Doubles:
    """Return P(X < x, Y < y), x and y not 0."""
    mean = (special.ndtr(x) + special.ndtr(y)) / 2
    return np.clip(mean - _wedges(x, y, rho, s) - np.where(x * y > 0, 0.0, 0.5), 0.0, 1.0)


def _box(x: Doubles, y: Doubles, rho: float, s: float) -> Doubles:
    """Return P(|X| < x, |Y| < y), x and y above 0."""
    return np.clip(1 - 2 * (_wedges(x, y, rho, s) + _wedges(x, y, -rho, s)), 0.0, 1.0)
