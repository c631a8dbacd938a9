"""Random numbers: the stream that is published, and its two ways of access."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from distlsh.kernels.random import (
    below,
    bits_at,
    next_u8,
    sample_seeds,
    scaled,
    stream_seeds,
    uniform,
    uniform_at,
)

SEEDS = st.integers(0, 2**64 - 1)


@njit
def in_order(state, n):
    """Return ``n`` of each kind of number, each kind from the state that ``state`` begins with."""
    first = state[0]
    bits, floats, numbers = np.empty(n, np.uint64), np.empty(n), np.empty(n, np.int64)
    for i in range(n):
        bits[i] = next_u8(state)
    state[0] = first
    for i in range(n):
        floats[i] = uniform(state)
    state[0] = first
    for i in range(n):
        numbers[i] = below(state, 1000)
    return bits, floats, numbers


@njit
def at_places(seed, n):
    bits, floats, numbers = np.empty(n, np.uint64), np.empty(n), np.empty(n, np.int64)
    for i in range(n):
        bits[i] = bits_at(seed, i)
        floats[i] = uniform_at(seed, i)
        numbers[i] = scaled(bits[i], 1000)
    return bits, floats, numbers


def test_the_published_stream():
    """The first numbers of splitmix64 from the state 1234567, as its authors' program prints them."""
    bits, _, _ = in_order(np.array([1234567], np.uint64), 3)
    assert bits.tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_places_of_a_stream_are_its_numbers_in_order(seed):
    """Access by place and one after the other give the same bits, floats and integers, in their ranges."""
    bits, floats, numbers = in_order(np.array([seed], np.uint64), 20)
    for found, expected in zip(at_places(np.uint64(seed), 20), (bits, floats, numbers), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert numbers.tolist() == [(int(x) >> 32) * 1000 >> 32 for x in bits]
    assert floats.tolist() == [(int(x) >> 40) / 2**24 for x in bits]


def test_integers_are_int64():
    """No mixture with int64 may turn into a float: that loses places beyond 2**53."""
    draw = njit(lambda state: below(state, 10) - np.int64(1))
    assert type(draw(np.array([1], np.uint64))) is int


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(0, 2**40))
def test_a_samples_state_depends_on_its_number_alone(seed, first):
    """Batches cut anywhere give their samples the same states."""
    whole, parts = np.empty((2, 9), np.uint64)
    sample_seeds(seed, first, whole)
    sample_seeds(seed, first, parts[:4])
    sample_seeds(seed, first + 4, parts[4:])
    np.testing.assert_array_equal(whole, parts)
    assert len(set(whole.tolist())) == 9


def test_streams_of_a_sample_differ():
    """Two streams of the same samples share no state, and a stream is a function of its sample."""
    seeds = np.arange(100, dtype=np.uint64)
    a, b, part = np.empty_like(seeds), np.empty_like(seeds), np.empty(10, np.uint64)
    stream_seeds(seeds, 1, a)
    stream_seeds(seeds, 2, b)
    stream_seeds(seeds[40:50], 1, part)
    assert len(set(a) | set(b)) == 200
    np.testing.assert_array_equal(part, a[40:50])
