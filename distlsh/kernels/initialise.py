"""First values of weights: each row's a function of the seed and its number alone."""

from __future__ import annotations

import math

from distlsh.kernels._jit import device_function
from distlsh.kernels._types import F4_2, F4_2R, I4_1R, I8_1R, b1, f4, i8, u4, u8, void
from distlsh.kernels.random import bits_at, mix64
from distlsh.kernels.stored_rows import put, salt_of, stored_kernel, value_at

_BITS_SD = 0.28837175762559  # 1 / sqrt(48 / 4 + 1 / 12)


@device_function
def _nearly_normal(x):  # type: ignore[no-untyped-def]
    """Return a standard normal variate of 64 random bits: the ones among 48, spread by the other 16.

    A binomial of 48 fair bits plus a uniform of width 1: within 0.003 of the normal distribution
    function everywhere, excess kurtosis -0.04.  It vectorises; Box and Muller's logarithm does not.
    """
    y = x >> u8(16)
    y = y - ((y >> u8(1)) & u8(0x5555555555555555))
    y = (y & u8(0x3333333333333333)) + ((y >> u8(2)) & u8(0x3333333333333333))
    y = (y + (y >> u8(4))) & u8(0x0F0F0F0F0F0F0F0F)
    ones = (y * u8(0x0101010101010101)) >> u8(56)
    spread = f4(i8(x & u8(0xFFFF))) * f4(1.0 / 65536.0)
    return (f4(i8(ones)) + spread - f4(24.5 - 0.5 / 65536.0)) * f4(_BITS_SD)


@device_function
def _random_row(w, row, sd, seed):  # type: ignore[no-untyped-def]
    stream = mix64(seed ^ mix64(u8(row)))
    for j in range(w.shape[1]):
        put(w, row, j, sd * _nearly_normal(bits_at(stream, j)), u4(stream))


@stored_kernel(0, void(F4_2, i8, i8, f4, u8))
def gaussian_rows(w, first, last, sd, seed):  # type: ignore[no-untyped-def]
    """Fill rows [first, last) of ``w`` f4 or u2[n, d] with normal variates of standard deviation ``sd``.

    Concurrency: ranges of rows may be filled by anyone.  Allocates: nothing.  Cost: O(rows * d).
    """
    for row in range(first, last):
        _random_row(w, row, sd, seed)


@stored_kernel(4, void(I8_1R, I4_1R, I8_1R, F4_2R, F4_2))
def add_to_labels(label_indptr, labels, rows, hidden, w):  # type: ignore[no-untyped-def]
    """Add each instance's vector to the rows of its labels.

    label_indptr, labels  i8[n+1], i4[entries]: labels of the instances
    rows    i8[m], the instances
    hidden  f4[m, d], their vectors
    w       f4 or u2[n_labels, d], shared, written HOGWILD

    Concurrency: lost updates allowed.  Allocates: nothing.  Cost: O(labels of the rows * d).
    Unchecked: ranges of rows and labels.
    """
    for i in range(rows.shape[0]):
        for p in range(label_indptr[rows[i]], label_indptr[rows[i] + 1]):
            label = labels[p]
            salt = salt_of(rows[i], label)
            for j in range(w.shape[1]):
                put(w, label, j, value_at(w, label, j) + hidden[i, j], salt)


@stored_kernel(0, void(F4_2, I8_1R, i8, i8, b1, f4, u8))
def finish_centroids(w, counts, first, last, unit, sd, seed):  # type: ignore[no-untyped-def]
    """Turn sums of vectors into centroids, in rows [first, last).

    w       f4 or u2[n_labels, d], sums as left by ``add_to_labels``
    counts  i8[n_labels], vectors added to each row
    unit    scale to unit length, else divide by the count
    sd      standard deviation of the normal variates of rows that have no vectors or a zero sum

    Concurrency: disjoint ranges.  Allocates: nothing.  Cost: O(rows * d).
    """
    for row in range(first, last):
        total = f4(0.0)
        for j in range(w.shape[1]):
            value = value_at(w, row, j)
            total += value * value
        if counts[row] == 0 or total == f4(0.0):
            _random_row(w, row, sd, seed)
            continue
        factor = f4(1.0) / math.sqrt(total) if unit else f4(1.0) / f4(counts[row])
        for j in range(w.shape[1]):
            put(w, row, j, factor * value_at(w, row, j), salt_of(seed, row))
