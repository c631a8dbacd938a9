"""Reservoirs, ties and random fill against closed forms; see `chance` for how seldom chance fails a test."""

from __future__ import annotations

import numpy as np
from scipy import stats

from distlsh.kernels.random import sample_seeds
from distlsh.lsh import ActiveSampler, HashSpec, Tables, table_specs
from tests.statistical.chance import FALSE_ALARM


def inclusion_chi_square(held, n_trials, size, n):
    """p-value of ``held`` inclusion counts of n ids in n_trials uniform samples of ``size``."""
    share = size / n
    # Inclusions of a sample without replacement are negatively correlated by 1 / (n - 1).
    statistic = np.sum((held - n_trials * share) ** 2) / (n_trials * share * (1 - share)) * (n - 1) / n
    return stats.chi2.sf(statistic, n - 1)


def many_buckets(n_ids, bucket_size, n_tables=16):
    spec = HashSpec("fast_srp", 8, n_tables, 0, 8)
    arrays = {item.name: np.zeros(item.shape, item.dtype) for item in table_specs(spec, n_ids, bucket_size)}
    return spec, Tables(arrays, 0, "reservoir", seed=3)


def held_counts(tables, n_ids):
    places = np.arange(tables.bucket_size) < tables.sizes[..., None]
    return np.bincount(tables.ids[places], minlength=n_ids), int(tables.sizes.sum())


def test_reservoir_keeps_each_with_b_over_n():
    """Each of n ids of a bucket is kept with probability B / n, early or late (chi-square)."""
    n, size = 60, 7
    spec, tables = many_buckets(n, size)
    for code in range(spec.n_buckets):
        tables.insert(np.arange(n, dtype=np.int32), np.full((n, spec.n_tables), code, np.int32))
    held, total = held_counts(tables, n)
    trials = spec.n_buckets * spec.n_tables
    assert total == trials * size
    assert inclusion_chi_square(held, trials, size, n) > FALSE_ALARM


def test_reservoir_stays_uniform_when_ids_move():
    """After some left and others came, each id that belongs is kept equally often (chi-square)."""
    n, size = 60, 7
    spec, tables = many_buckets(n, size)
    ids = np.arange(n, dtype=np.int32)
    for code in range(spec.n_buckets):
        codes = np.full((n, spec.n_tables), code, np.int32)
        tables.insert(ids[:40], codes[:40])
        tables.remove(ids[5:20], codes[5:20])
        tables.insert(ids[40:], codes[40:])
        tables.remove(ids[45:50], codes[45:50])
        tables.insert(ids[5:10], codes[5:10])
    held, total = held_counts(tables, n)
    gone = np.r_[10:20, 45:50]
    assert np.all(held[gone] == 0)
    stayed = np.delete(held, gone)
    trials = spec.n_buckets * spec.n_tables
    # Sizes vary around total / trials; given its size, each sample is uniform.
    assert inclusion_chi_square(stayed, trials, total / trials, len(stayed)) > FALSE_ALARM


def test_ties_favour_neither_low_ids_nor_old_ones():
    """Of ids with equal counts each is retrieved equally often (chi-square)."""
    n, wanted, m = 30, 8, 6000
    spec = HashSpec("fast_srp", 1, 1, 0, 8)
    arrays = {item.name: np.zeros(item.shape, item.dtype) for item in table_specs(spec, n, n)}
    tables = Tables(arrays, 0)
    tables.insert(np.arange(n, dtype=np.int32), np.zeros((n, 1), np.int32))
    held = np.bincount(chosen(tables, n, wanted, 0, m).ravel(), minlength=n)
    assert inclusion_chi_square(held, m, wanted, n) > FALSE_ALARM


def test_random_fill_is_uniform():
    """With empty tables each label is drawn equally often (chi-square)."""
    n, wanted, m = 30, 8, 6000
    spec = HashSpec("fast_srp", 1, 1, 0, 8)
    arrays = {item.name: np.zeros(item.shape, item.dtype) for item in table_specs(spec, n, n)}
    held = np.bincount(chosen(Tables(arrays, 0), n, wanted, wanted, m).ravel(), minlength=n)
    assert inclusion_chi_square(held, m, wanted, n) > FALSE_ALARM


def chosen(tables, n_labels, n_active, n_random, m):
    sampler = ActiveSampler(
        n_labels, n_active, n_random, n_tables=1, n_codes=1, bucket_size=tables.bucket_size, batch=m
    )
    seeds = np.empty(m, np.uint64)
    sample_seeds(np.uint64(4), np.uint64(0), seeds)
    active, bounds = np.empty((m, n_active), np.int32), np.empty((m, 3), np.int32)
    no_labels = np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(m, np.int64)
    sampler.select(tables, np.zeros((m, 1, 1), np.int32), *no_labels, seeds, active, bounds)
    assert np.all(bounds[:, 2] == n_active)
    return active
