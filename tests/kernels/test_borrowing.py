"""Which bins empty ones read: always filled ones, chosen alike for all vectors, each as often."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import I4_1, U4_2, i8, void
from distlsh.kernels.borrowing import borrow
from distlsh.lsh.families.borrowing import Borrowing, least_prime
from tests.lsh.slow import borrowed


@kernel(void(U4_2, i8, I4_1, I4_1), cache=False)
def run_borrow(walks, prime, filled, donors):
    borrow(walks, prime, filled, donors)


def donors_of(held, seed):
    borrowing = Borrowing.of(seed, len(held))
    borrowing.donors[...] = np.where(held, np.arange(len(held)), -1)
    run_borrow(*borrowing)
    return borrowing.donors


@given(st.lists(st.booleans(), min_size=1, max_size=120), st.integers(0, 2**63))
@settings(max_examples=80, deadline=None)
def test_each_empty_bin_reads_the_first_filled_one_on_its_walk(held, seed):
    """Whether few bins are filled or most: look-ups and steps find what a slow walk does."""
    assert donors_of(held, seed).tolist() == borrowed(held, seed)


def test_none_stays_empty_while_one_is_filled():
    """One filled bin of 5,000 serves all; none at all: every bin reads bin 0."""
    held = np.zeros(5000, bool)
    assert not donors_of(held, 1).any()
    held[1234] = True
    assert np.all(donors_of(held, 1) == 1234)


@pytest.mark.parametrize("n_filled", [3, 40])
def test_filled_bins_are_read_equally_often(n_filled):
    """Over walks and places of the filled bins (chi-square; a right one fails for one seed in 1e6)."""
    n, random = 200, np.random.default_rng(0)
    counts = np.zeros(n_filled)
    for seed in range(300):
        places = random.choice(n, n_filled, replace=False)
        held = np.zeros(n, bool)
        held[places] = True
        donors = donors_of(held, seed)[~held][:1]  # bins of one vector are not independent trials
        counts += (places[:, None] == donors).sum(axis=1)
    assert stats.chisquare(counts).pvalue > 1e-6


def test_walks_pass_every_bin():
    """The modulus is prime and the third number inverts the stride, so that no bin is out of reach."""
    for n in (1, 2, 20, 200, 4096):
        walks, prime = Borrowing.of(9, n)[:2]
        assert prime == least_prime(n) >= n
        assert all(prime % divisor for divisor in range(2, prime))
        assert np.all(walks[1].astype(np.int64) * walks[2] % prime == 1)
        assert walks[0].max() < prime
