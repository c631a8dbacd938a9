"""What full buckets keep and what strategies draw, against their distributions.

Each p-value is of a fixed seed; a right implementation fails a test with probability FALSE_ALARM
for a seed chosen at random.
"""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from distlsh.kernels.random import sample_seeds
from distlsh.lsh import ActiveSampler, HashSpec, Tables

FALSE_ALARM = 1e-4


def of_tables(tables):
    """What the first bucket of each table holds; ranks differ from table to table."""
    return [tuple(tables.ids[t, 0, : tables.sizes[t, 0]].tolist()) for t in range(tables.n_tables)]


def trials(bucket_size, weights, n_seeds=250):
    """What one bucket of 40 tables under each of many seeds holds, in the order of rank."""
    ids = np.arange(len(weights), dtype=np.int32)
    spec = HashSpec("fast_srp", 1, 40, 0, 8)
    held = []
    for seed in range(n_seeds):
        tables = Tables.create(spec, len(weights), bucket_size, "bottom_k", seed)
        tables.insert(ids, np.zeros((len(ids), spec.n_tables), np.int32), weights)
        held += of_tables(tables)
    return held


def test_bottom_k_draws_in_proportion_to_the_weights_left():
    """Ordered samples of 2 of 4 ids have the probabilities of draws without replacement (chi-square).

    First i with w_i / W, then j with w_j / (W - w_i) (Cohen & Kaplan 2007, section 2).
    """
    weights = np.array([1.0, 2.0, 4.0, 0.5])
    found = Counter(trials(2, weights.astype(np.float32)))
    total = weights.sum()
    pairs = list(permutations(range(4), 2))
    expected = [weights[i] / total * weights[j] / (total - weights[i]) for i, j in pairs]
    observed = [found[pair] for pair in pairs]
    assert sum(observed) == 10_000
    assert stats.chisquare(observed, 10_000 * np.array(expected)).pvalue > FALSE_ALARM


def test_bottom_k_of_equal_weights_is_uniform():
    """Every set of 2 of 5 ids of one weight is kept equally often (chi-square)."""
    found = Counter(tuple(sorted(held)) for held in trials(2, np.full(5, 3.0, np.float32)))
    assert len(found) == 10
    assert stats.chisquare(list(found.values())).pvalue > FALSE_ALARM


def test_bottom_k_stays_a_sample_when_ids_leave_and_come():
    """After removals and insertions, what is held are the smallest ranks of what belongs (chi-square).

    Given its size s, a bucket's content is an ordered draw of s: here the first of it, over buckets
    that hold any.
    """
    spec = HashSpec("fast_srp", 1, 40, 0, 8)
    weights = np.array([1.0, 2.0, 4.0, 0.5, 3.0, 1.5], np.float32)
    ids = np.arange(6, dtype=np.int32)
    codes = np.zeros((6, 40), np.int32)
    first = Counter()
    for seed in range(250):
        tables = Tables.create(spec, 6, 2, "bottom_k", seed)
        tables.insert(ids[:4], codes[:4], weights[:4])
        tables.remove(ids[1:3], codes[1:3])
        tables.insert(ids[4:], codes[4:], weights[4:])
        first.update(held[0] if held else -1 for held in of_tables(tables))
    stayed = [0, 3, 4, 5]
    assert first[1] == first[2] == 0
    held = sum(first[i] for i in stayed)
    assert held > 5_000
    # P(the smallest rank is i, and below the bound): not uniform over i given that a bucket holds any,
    # since the bound fell with the ids that left; the exact share comes from the ranks themselves.
    expected = expected_first(weights, stayed, n=400_000)
    observed = [first[i] for i in stayed] + [first[-1]]
    assert stats.chisquare(observed, 10_000 * expected).pvalue > FALSE_ALARM


def expected_first(weights, stayed, n):
    """Simulate with NumPy's exponentials: the first id held, or none, of buckets of two."""
    ranks = np.random.default_rng(0).exponential(1.0, (n, 6)) / weights
    bound = np.sort(ranks[:, :4], axis=1)[:, 2]  # of four ids the third and fourth were dropped
    kept = np.where(ranks < bound[:, None], ranks, np.inf)[:, stayed]
    none = np.isinf(kept.min(axis=1))
    counts = np.bincount(np.where(none, len(stayed), kept.argmin(axis=1)), minlength=len(stayed) + 1)
    return counts / n


def chosen(sampling, buckets, n_labels, n_active, m=6000, **settings):
    """Ids that samples with random states of their own choose from tables with one bucket each."""
    n_tables = len(buckets)
    spec = HashSpec("fast_srp", 1, n_tables, 0, 8)
    tables = Tables.create(spec, n_labels, max(map(len, buckets)))
    for table, ids in enumerate(buckets):
        codes = np.full((len(ids), n_tables), -1, np.int32)
        codes[:, table] = 0
        tables.insert(np.array(ids, np.int32), codes)
    sampler = ActiveSampler(
        n_labels, n_active, 0, n_tables=n_tables, n_codes=1, bucket_size=tables.bucket_size, batch=m,
        sampling=sampling, **settings,
    )  # fmt: skip
    seeds = np.empty(m, np.uint64)
    sample_seeds(np.uint64(4), np.uint64(0), seeds)
    active, bounds = np.empty((m, n_active), np.int32), np.empty((m, 3), np.int32)
    no_labels = np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(m, np.int64)
    sampler.select(tables, np.zeros((m, n_tables, 1), np.int32), *no_labels, seeds, active, bounds)
    assert np.all(bounds[:, 1] == n_active)
    return active


def test_vanilla_begins_with_each_table_equally_often():
    """The first bucket taken is that of a uniformly random table (chi-square)."""
    buckets = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    active = chosen("vanilla", buckets, 10, 2)
    assert np.all(active[:, 0] // 2 == active[:, 1] // 2)
    assert stats.chisquare(np.bincount(active[:, 0] // 2, minlength=5)).pvalue > FALSE_ALARM


@pytest.mark.parametrize("sampling", ["vanilla", "threshold"])
def test_what_does_not_fit_is_left_out_evenly(sampling):
    """Of more ids than fit, each of one bucket is chosen equally often (chi-square)."""
    n, size = 20, 7
    held = np.bincount(chosen(sampling, [range(n)], n, size, min_hits=1).ravel(), minlength=n)
    m, share = 6000, size / n
    # Inclusions of a cyclic run are dependent: a run is one of n, and its start is uniform.
    starts = np.bincount(chosen(sampling, [range(n)], n, size, min_hits=1)[:, 0], minlength=n)
    assert abs(held / m - share).max() < 5 * np.sqrt(share * (1 - share) / m)
    assert (starts > 0).sum() >= n - size
