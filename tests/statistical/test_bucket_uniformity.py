"""Codes use all of their range: chi-square over the buckets of data without structure."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from distlsh.lsh import Hasher, HashSpec
from tests.statistical.chance import FALSE_ALARM, set_pairs


def assert_uniform(spec, rows, per_bucket=20):
    """Each table's codes are spread evenly over all its buckets."""
    assert len(rows) >= per_bucket * spec.n_buckets
    for table in Hasher(spec).codes(rows).T:
        assert stats.chisquare(np.bincount(table, minlength=spec.n_buckets)).pvalue > FALSE_ALARM


@pytest.fixture(scope="module")
def gaussian():
    return np.random.default_rng(0).standard_normal((82_000, 128)).astype(np.float32)


@pytest.mark.parametrize(
    ("family", "n_hashes", "n_tables", "changes"),
    [
        ("fast_srp", 10, 12, {}),  # one rotation: orthogonal
        ("cross_polytope", 2, 4, {"dim": 16}),
        ("cross_polytope", 1, 6, {"dim": 64}),
        ("wta", 4, 4, {"bin_size": 8}),
        ("dwta", 4, 4, {"bin_size": 8}),  # the seeds' codes reached 9,556 of 262,144 buckets
        ("dwta", 6, 4, {"bin_size": 4}),
    ],
)
def test_whole_codes_of_orthogonal_hashes_are_uniform(gaussian, family, n_hashes, n_tables, changes):
    """Hashes of one rotation, or of disjoint bins, are independent on Gaussian rows: all digits together."""
    spec = HashSpec(family, n_hashes, n_tables, 0, 128, **changes)
    assert_uniform(spec, gaussian[: 20 * spec.n_buckets])


@pytest.mark.parametrize("family", ["srp", "sparse_srp", "fast_srp"])
def test_each_bit_is_one_half_of_the_time(gaussian, family):
    """Any hyperplane through the origin halves what is symmetric about it."""
    assert_uniform(HashSpec(family, 1, 64, 0, 128), gaussian[:20_000])


def test_projections_fill_all_their_buckets(gaussian):
    """Hyperplanes at random angles: not evenly, but none of 256 buckets is without its share."""
    for family in ("srp", "sparse_srp"):
        for table in Hasher(HashSpec(family, 8, 8, 0, 128)).codes(gaussian).T:
            counts = np.bincount(table, minlength=256)
            assert counts.min() > len(gaussian) / 256 / 5
            assert counts.max() < len(gaussian) / 256 * 5


@pytest.mark.parametrize("family", ["minhash", "doph"])
def test_codes_of_sets_are_uniform(family):
    """Minima of 20 elements of 5,000 are seldom the same; mixed, they fill 2**code_bits buckets evenly."""
    rows, _ = set_pairs(20, 0, 0, 2600, 5000)
    assert_uniform(HashSpec(family, 2, 8, 0, 5000, code_bits=7), rows)


def test_codes_of_narrow_slots_are_uniform(gaussian):
    """l2 with thousands of slots a hash: mixed, they fill 2**code_bits buckets evenly."""
    assert_uniform(HashSpec("l2", 2, 8, 0, 128, l2_width=0.01, code_bits=9), gaussian[:20_000])
