"""How often two vectors share a hash value, family by family, against the closed forms of `lsh.theory`."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.lsh import Hasher, HashSpec, theory
from tests.statistical.chance import (
    Z,
    assert_mean,
    assert_share,
    axis_pairs,
    gaussian_pairs,
    pairs_apart,
    pairs_at,
    set_pairs,
)

ANGLES = [0.1, 0.5, 1.0, np.pi / 2, 2.5]


def same_values(family, one, other, n_tables, seed=1, **changes):
    """Return bool[n, n_tables]: where one hash of each table takes the same value for both of a pair."""
    spec = HashSpec(family, 1, n_tables, 0, one.shape[1], seed=seed, **changes)
    hasher = Hasher(spec)
    return hasher.codes(one) == hasher.codes(other)


def assert_one_pair(family, one, other, share, n_hashes=1 << 15, **changes):
    """One pair under many independent hashes: every one is a trial of its own."""
    same = same_values(family, one[:1], other[:1], n_hashes, **changes)
    assert_share(same.sum(), same.size, share)


@pytest.mark.parametrize("angle", ANGLES)
def test_srp_collides_with_one_minus_theta_over_pi(angle):
    """Independent Gaussian projections of one pair (Charikar 2002)."""
    assert_one_pair("srp", *pairs_at(angle, 1, 100), theory.srp(angle))


@pytest.mark.parametrize("density", [1 / 3, 0.1])
@pytest.mark.parametrize("angle", ANGLES)
def test_sparse_srp_collides_like_srp_where_vectors_are_not_sparse(angle, density):
    """Sums of some dozen +-coordinates are Gaussian enough (Li, Hastie & Church 2006)."""
    assert_one_pair("sparse_srp", *pairs_at(angle, 1, 700), theory.srp(angle), density=density)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize(("pairs", "n_dims"), [(pairs_at, 100), (pairs_at, 512), (axis_pairs, 512)])
def test_fast_srp_collides_like_srp(angle, pairs, n_dims):
    """Bits of fast rotations, over many pairs, also for vectors along the axes."""
    same = same_values("fast_srp", *pairs(angle, 1500, n_dims), 128)
    assert_mean(same.mean(1), theory.srp(angle))


@pytest.mark.parametrize("dim", [8, 32])
@pytest.mark.parametrize("angle", [*ANGLES[:4], 1.8])
def test_cross_polytope_collides_as_integrated(angle, dim):
    """Vertices of fast rotations of Gaussian pairs are those of Gaussian projections."""
    same = same_values("cross_polytope", *gaussian_pairs(angle, 2500, 128), 96, dim=dim)
    share = theory.cross_polytope(angle, dim)
    assert_mean(same.mean(1), share, at_least=np.sqrt(share / same.size))


@pytest.mark.parametrize("angle", [0.3, 0.8])
def test_cross_polytope_collides_as_integrated_along_the_axes(angle):
    """Two shared rounds and one own spread even two non-zeros over 512 coordinates."""
    same = same_values("cross_polytope", *axis_pairs(angle, 2500, 512), 96, dim=32)
    assert_mean(same.mean(1), theory.cross_polytope(angle, 32))


@pytest.mark.parametrize("n_dims", [128, 256])
def test_narrow_rotations_of_two_non_zeros_collide_nearly_as_integrated(n_dims):
    """The worst case there is: seldomer by up to a tenth at 128 dimensions, by some percent at 256."""
    share = theory.cross_polytope(0.8, 32)
    found = same_values("cross_polytope", *axis_pairs(0.8, 2500, n_dims), 96, dim=32).mean()
    assert (1 - 12 / n_dims) * share < found < 1.02 * share


def test_cross_polytopes_of_a_pair_vary_like_independent_ones():
    """The variance over pairs is that of independent tables, so K and L multiply as they should."""
    n, n_tables, angle = 2500, 96, 0.8
    for pairs in (gaussian_pairs, axis_pairs):
        same = same_values("cross_polytope", *pairs(angle, n, 512), n_tables, dim=32)
        share = theory.cross_polytope(angle, 32)
        of_pair = same.sum(1).var() / (n_tables * share * (1 - share))
        # A Gaussian pair's own angle varies too, by (1 - cos^2) / sqrt(d).
        slope = (theory.cross_polytope(angle + 0.01, 32) - theory.cross_polytope(angle - 0.01, 32)) / 0.02
        own = n_tables * (slope * np.sin(angle)) ** 2 / 512 / (share * (1 - share))
        assert of_pair < 1 + own * (pairs is gaussian_pairs) + Z * np.sqrt(2 / n)


@pytest.mark.parametrize("family", ["wta", "dwta"])
@pytest.mark.parametrize("bin_size", [2, 8])
@pytest.mark.parametrize("angle", ANGLES[:4])
def test_winner_take_all_collides_as_integrated(family, bin_size, angle):
    """Bins of coordinates of Gaussian pairs; dense vectors leave dwta nothing to densify."""
    same = same_values(family, *gaussian_pairs(angle, 2500, 256), 96, bin_size=bin_size)
    assert_mean(same.mean(1), theory.wta(angle, bin_size))


@pytest.mark.parametrize("family", ["wta", "dwta"])
def test_winner_take_all_collides_as_the_ranks_of_a_pair_say(family):
    """Skewed, positive values: only their order counts."""
    random = np.random.default_rng(3)
    one = random.exponential(size=(1, 160)).astype(np.float32) ** 4
    other = one * random.lognormal(sigma=1.5, size=one.shape).astype(np.float32)
    shares = np.concatenate([same_values(family, one, other, 400, seed=s).mean(1) for s in range(60)])
    assert_mean(shares, theory.wta_of(one[0], other[0], 8))


@pytest.mark.parametrize(("held", "n_dims"), [(0.6, 400), (0.15, 400), (0.03, 400), (0.004, 3000)])
def test_dwta_of_sparse_vectors_collides_as_their_supports_and_ranks_say(held, n_dims):
    """From bins seldom empty to one in thirty that is not; zeros are no values (Chen & Shrivastava 2018)."""
    random = np.random.default_rng(4)
    one = random.standard_normal((1, n_dims)).astype(np.float32)
    other = one + 0.7 * random.standard_normal((1, n_dims)).astype(np.float32)
    support = random.random((1, n_dims))
    one *= support < held
    other *= (support < 0.7 * held) | (support > 1 - 0.3 * held)
    shares = np.concatenate([same_values("dwta", one, other, 400, seed=s).mean(1) for s in range(60)])
    assert_mean(shares, theory.dwta_of(one[0], other[0], 8))


@pytest.mark.parametrize("distance", [0.3, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("l2_width", [1.0, 4.0])
def test_l2_collides_as_datar_says(distance, l2_width):
    """Slots of Gaussian projections at random offsets; values mixed to 2**20 buckets meet by chance alone."""
    share = theory.code_collision(theory.l2(distance, l2_width), 1, 1 << 20)
    one, other = pairs_apart(distance, 1, 40)
    assert_one_pair("l2", one, other, share, l2_width=l2_width, code_bits=20)


SETS = [(40, 10, 10), (5, 50, 80), (3, 2, 1), (300, 50, 0), (1, 1, 0)]


@pytest.mark.parametrize("sizes", SETS)
def test_minhash_collides_with_the_jaccard_similarity(sizes):
    """Orders of their own for each hash: trials of their own (Broder 1997)."""
    share = theory.code_collision(theory.minhash(sizes[0] / sum(sizes)), 1, 1 << 20)
    assert_one_pair("minhash", *set_pairs(*sizes, 1, 2000), share, code_bits=20)


@pytest.mark.parametrize("sizes", SETS)
def test_doph_collides_with_the_jaccard_similarity(sizes):
    """Also where most of 64 bins are empty and borrow (Shrivastava 2017, theorem 1)."""
    share = theory.code_collision(theory.minhash(sizes[0] / sum(sizes)), 1, 1 << 20)
    one, other = set_pairs(*sizes, 1, 2000)
    shares = [same_values("doph", one, other, 64, seed=s, code_bits=20).mean() for s in range(1500)]
    assert_mean(shares, share)


def test_code_bits_make_other_values_meet_as_often_as_buckets_say():
    """Disjoint sets share a code of 4 bits in one table of 16."""
    assert_one_pair("minhash", *set_pairs(0, 30, 30, 1, 2000), 1 / 16, code_bits=4)
