"""Hashes and samples against closed forms.

Seeds are fixed, so a test that passes keeps passing; had the seeds been free, each bound
would fail by chance once in about a million runs (4.9 sigma two-sided, or a chi-square quantile).
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from distlsh.kernels.random import sample_seeds
from distlsh.lsh import ActiveSampler, Hasher, HashSpec, Tables, retrieve, table_specs

FALSE_ALARM = 1e-6
Z = stats.norm.isf(FALSE_ALARM / 2)


def pairs_at(angle, n, n_dims, seed=0):
    """Return n pairs of unit vectors at the given angle, uniform over the sphere."""
    random = np.random.default_rng(seed)
    one, other = random.standard_normal((2, n, n_dims))
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    other -= (one * other).sum(1, keepdims=True) * one
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return one.astype(np.float32), (np.cos(angle) * one + np.sin(angle) * other).astype(np.float32)


def assert_share(hits, n, share, n_independent=None):
    """``hits`` of ``n`` is ``share`` within the binomial bound of ``n_independent`` trials."""
    bound = Z * np.sqrt(share * (1 - share) / (n_independent or n)) + 1.0 / n
    assert abs(hits / n - share) < bound, (hits / n, share, bound)


def sparse_pairs(angle, n, n_dims, seed=0):
    """Pairs at the given angle in the plane of two coordinate axes: the worst case for fast rotations."""
    random = np.random.default_rng(seed)
    one, other = np.zeros((2, n, n_dims), np.float32)
    axes = np.array([random.choice(n_dims, 2, replace=False) for _ in range(n)])
    rows = np.arange(n)
    one[rows, axes[:, 0]] = 1
    other[rows, axes[:, 0]] = np.cos(angle)
    other[rows, axes[:, 1]] = np.sin(angle)
    return one, other


@pytest.mark.parametrize("angle", [0.1, 0.5, 1.0, np.pi / 2, 2.5])
@pytest.mark.parametrize(("pairs", "n_dims"), [(pairs_at, 100), (pairs_at, 512), (sparse_pairs, 512)])
def test_srp_bits_collide_with_one_minus_theta_over_pi(angle, pairs, n_dims):
    """A bit of two vectors at angle theta agrees with probability 1 - theta / pi (Charikar 2002)."""
    hasher = Hasher(HashSpec("fast_srp", 1, 256, 0, n_dims))
    one, other = pairs(angle, 1500, n_dims)
    same = hasher.codes(one) == hasher.codes(other)
    assert_share(same.sum(), same.size, 1 - angle / np.pi)


@pytest.mark.parametrize(("n_hashes", "n_tables"), [(4, 4), (8, 10)])
def test_srp_retrieval_follows_k_and_l(n_hashes, n_tables):
    """A neighbour at angle theta shares a bucket with probability 1 - (1 - p^K)^L."""
    n, n_dims, angle = 2000, 512, 0.6
    spec = HashSpec("fast_srp", n_hashes, n_tables, 0, n_dims)
    hasher = Hasher(spec)
    stored, queries = pairs_at(angle, n, n_dims)
    arrays = {item.name: np.zeros(item.shape, item.dtype) for item in table_specs(spec, n, n)}
    tables = Tables(arrays, 0)
    tables.insert(np.arange(n, dtype=np.int32), hasher.codes(stored))
    ids, found = retrieve(tables, hasher.probes(queries))
    hits = sum(int(i in ids[i, : found[i]]) for i in range(n))
    assert_share(hits, n, 1 - (1 - (1 - angle / np.pi) ** n_hashes) ** n_tables)


def test_cross_polytope_collides_less_at_larger_angles():
    """Collision probability falls with the angle, by more than chance explains."""
    hasher = Hasher(HashSpec("cross_polytope", 1, 64, 0, 200, dim=64))
    shares = []
    for angle in (0.1, 0.3, 0.6, 0.9, 1.2, 1.5):
        one, other = pairs_at(angle, 1000, 200)
        shares.append(np.mean(hasher.codes(one) == hasher.codes(other)))
    falls = -np.diff(shares)
    assert np.all(falls > Z * np.sqrt(2 * 0.25 / 1000 / 16)), shares
    assert shares[0] > 0.8
    assert shares[-1] < 0.03


@pytest.mark.parametrize("pairs", [pairs_at, sparse_pairs])
@pytest.mark.parametrize("angle", [0.5, 1.0])
def test_cross_polytope_collides_like_gaussian_rotations(pairs, angle):
    """The fast rotation is as good as true Gaussian projections, also for sparse vectors.

    Reference by simulation with as many trials; both shares vary, so the bound is of their
    difference.  Tables of a pair are taken as independent, which the variance bears out.
    """
    n, n_dims, n_tables = 1500, 256, 64
    hasher = Hasher(HashSpec("cross_polytope", 1, n_tables, 0, n_dims, dim=64))
    one, other = pairs(angle, n, n_dims)
    same = hasher.codes(one) == hasher.codes(other)
    random = np.random.default_rng(1)
    simulated = 0
    for _ in range(n_tables):
        gaussian = random.standard_normal((n_dims, 64)).astype(np.float32)
        simulated += np.sum(_vertex(one @ gaussian) == _vertex(other @ gaussian))
    share = simulated / same.size
    assert_share(same.sum(), same.size, share, same.size / 2)
    of_pair = same.sum(1).var() / (n_tables * share * (1 - share))
    assert of_pair < 1 + Z * np.sqrt(2 / n)


def _vertex(projected):
    place = np.abs(projected).argmax(1)
    return 2 * place + (projected[np.arange(len(place)), place] < 0)


def test_dwta_digits_collide_with_rank_correlation():
    """Independent vectors agree on a digit with 1 / bin_size, equal ones always, near ones in between."""
    hasher = Hasher(HashSpec("dwta", 1, 128, 0, 256, bin_size=8))
    one, other = pairs_at(np.pi / 2, 1000, 256)
    same = hasher.codes(one) == hasher.codes(other)
    # Bins are disjoint within a permutation but not between; a pair's 128 count as 32.
    assert_share(same.sum(), same.size, 1 / 8, same.size / 4)
    one, other = pairs_at(0.4, 1000, 256)
    assert 0.5 < np.mean(hasher.codes(one) == hasher.codes(other)) < 0.95


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("cross_polytope", {"n_hashes": 2, "dim": 32}),
        ("fast_srp", {"n_hashes": 8}),
        ("dwta", {"n_hashes": 2}),
    ],
)
def test_earlier_probes_hold_neighbours_more_often(family, changes):
    """Over many queries, the share of neighbours found falls from each probe to the next, and each helps."""
    spec = HashSpec(family=family, n_tables=40, n_probes=5, n_dims=128, **changes)
    hasher = Hasher(spec)
    stored, queries = pairs_at(0.7, 4000, 128)
    hits = hasher.probes(queries) == hasher.codes(stored)[:, :, None]
    shares = hits.mean((0, 1))
    assert np.all(np.diff(shares) < 0), shares
    chance = 1 / spec.n_buckets
    assert shares[-1] > 2 * chance


def test_codes_spread_evenly_over_digits():
    """Each digit of each family is equally frequent on random vectors (chi-square)."""
    rows = np.random.default_rng(0).standard_normal((20_000, 128)).astype(np.float32)
    for spec in (
        HashSpec("fast_srp", 1, 8, 0, 128),
        HashSpec("cross_polytope", 1, 4, 0, 128, dim=32),
        HashSpec("dwta", 1, 8, 0, 128, bin_size=8),
    ):
        for table in Hasher(spec).codes(rows).T:
            counts = np.bincount(table, minlength=spec.n_buckets)
            assert stats.chisquare(counts).pvalue > FALSE_ALARM


# --- samples -------------------------------------------------------------------------------------


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
