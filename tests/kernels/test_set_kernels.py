"""MinHash and one permutation hashing against plain Python over sets."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.kernels.doph import doph_codes
from distlsh.kernels.minhash import fill_orders, minhash_codes
from distlsh.lsh.families.borrowing import Borrowing
from tests.lsh.slow import borrowed

MASK_4, MASK_8 = (1 << 32) - 1, (1 << 64) - 1
NOTHING = MASK_4

sets = st.lists(st.sets(st.integers(0, 2**31 - 1), max_size=30), min_size=1, max_size=5)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 31), st.integers(0, 2**64 - 1))


def mix64(x):
    z = (x + 0x9E3779B97F4A7C15) & MASK_8
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK_8
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK_8
    return z ^ z >> 31


def shuffled(id_, seed):
    order = mix64(seed)
    z = ((id_ ^ order & MASK_4) * (order >> 32 | 1)) & MASK_4
    z = ((z ^ z >> 16) * 0x85EBCA6B) & MASK_4
    z = ((z ^ z >> 13) * 0xC2B2AE35) & MASK_4
    return z ^ z >> 16


def reordered(z, flip, factor):
    z = ((z ^ flip) * factor) & MASK_4
    z = ((z ^ z >> 15) * 0x2C1B3C6D) & MASK_4
    return z ^ z >> 16


def code(values, bits, seed):
    state = seed
    for value in values:
        state = mix64(state ^ value)
    return state >> 64 - bits


def csr(found):
    indptr = np.cumsum([0] + [len(ids) for ids in found]).astype(np.int64)
    return indptr, np.array([i for ids in found for i in ids], np.int32)


def minhash(found, n_hashes, n_tables, bits, seed):
    n = n_hashes * n_tables
    orders, out = np.empty((2, n), np.uint32), np.empty((len(found), n_tables), np.int32)
    fill_orders(np.uint64(seed), orders)
    minhash_codes(*csr(found), orders, np.uint64(seed), n_hashes, bits, np.empty(n, np.uint32), out)
    return orders, out


def doph(found, n_hashes, n_tables, bits, seed):
    n = n_hashes * n_tables
    out = np.empty((len(found), n_tables), np.int32)
    scratch = (*Borrowing.of(seed, n), np.empty(n, np.uint32), np.empty(n, np.uint32))
    doph_codes(*csr(found), np.uint64(seed), n_hashes, bits, *scratch, out)
    return out


@given(sets, shapes)
@settings(max_examples=60, deadline=None)
def test_minhash_codes_mix_the_least_places_in_each_order(found, shape):
    """A code is made of K minima over the set, each in its own order; nothing's minimum is the largest."""
    n_hashes, n_tables, bits, seed = shape
    orders, out = minhash(found, *shape)
    for row, ids in enumerate(found):
        places = [shuffled(i, seed) for i in ids]
        minima = [
            min([NOTHING, *(reordered(z, int(flip), int(factor)) for z in places)])
            for flip, factor in orders.T
        ]
        wanted = [code(minima[t * n_hashes : (t + 1) * n_hashes], bits, seed) for t in range(n_tables)]
        assert out[row].tolist() == wanted


@given(sets, shapes)
@settings(max_examples=60, deadline=None)
def test_doph_codes_mix_the_minima_of_bins_that_borrow_where_empty(found, shape):
    """One order cut into K * L bins; an empty bin reads the first on its walk that is not."""
    n_hashes, n_tables, bits, seed = shape
    out = doph(found, *shape)
    n = n_hashes * n_tables
    for row, ids in enumerate(found):
        bins = [[] for _ in range(n)]
        for z in (shuffled(i, seed) for i in ids):
            bins[z * n >> 32].append(z)
        donors = borrowed([bool(held) for held in bins], seed)
        values = [min(bins[donor], default=NOTHING) for donor in donors]
        wanted = [code(values[t * n_hashes : (t + 1) * n_hashes], bits, seed) for t in range(n_tables)]
        assert out[row].tolist() == wanted


def test_one_element_reaches_every_bin():
    """However many bins are empty, all borrow: with 2,000 bins, all but one."""
    out = doph([{7}, {7}, {8}], 1, 2000, 31, 3)
    assert len(set(out[0])) == 1
    assert (out[0] == out[1]).all() and (out[0] != out[2]).all()


def test_orders_are_one_to_one():
    """Different elements never tie, so a minimum belongs to one element: factors are odd."""
    orders, _ = minhash([{1}], 4, 50, 16, 11)
    assert (orders[1] % 2 == 1).all()
    assert len(np.unique(orders[0])) == 200


def test_empty_sets_share_their_codes():
    """They are like each other and nothing else."""
    for function in (lambda f: minhash(f, 3, 8, 31, 5)[1], lambda f: doph(f, 3, 8, 31, 5)):
        out = function([set(), {4, 9}, set()])
        assert (out[0] == out[2]).all() and (out[0] != out[1]).all()
