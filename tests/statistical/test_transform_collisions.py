"""Transformed rows and queries collide as their inner product says, family by family."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.lsh import Hasher, HashSpec, theory
from tests.statistical.chance import assert_mean, assert_share

N_HASHES = 1 << 15
MAX_NORM = 5.0


def row_and_query(cosine, length, n_dims=40, seed=0):
    """Return a row of length ``length * MAX_NORM`` and a query of length 3 at the given cosine."""
    row, other = np.random.default_rng(seed).standard_normal((2, 1, n_dims))
    row /= np.linalg.norm(row)
    other -= (row * other).sum() * row
    query = cosine * row + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other)
    return (length * MAX_NORM * row).astype(np.float32), (3 * query).astype(np.float32)


def collisions(spec, row, query):
    hasher = Hasher(spec)
    return hasher.codes(row, max_norm=MAX_NORM) == hasher.probes(query)[:, :, 0]


CASES = [(0.9, 1.0), (0.9, 0.5), (0.3, 0.8), (-0.6, 0.9)]


@pytest.mark.parametrize("transform", ["simple", "sign_alsh"])
@pytest.mark.parametrize(("cosine", "length"), CASES)
def test_srp_of_a_transform_sees_the_inner_product(transform, cosine, length):
    """1 - angle / pi, of the angle that simple (Neyshabur & Srebro 2015) or sign_alsh makes of it."""
    spec = HashSpec("srp", 1, N_HASHES, 0, 40, transform=transform)
    same = collisions(spec, *row_and_query(cosine, length))
    angle = np.arccos(theory.transformed_cosine(transform, cosine * length, length))
    assert_share(same.sum(), same.size, theory.srp(angle))


@pytest.mark.parametrize("transform", ["l2_alsh", "simple"])
@pytest.mark.parametrize(("cosine", "length"), CASES)
def test_l2_of_a_transform_sees_the_inner_product(transform, cosine, length):
    """Datar's formula at the distance of P(x) and Q(q) (Shrivastava & Li 2014, theorem 4)."""
    spec = HashSpec("l2", 1, N_HASHES, 0, 40, transform=transform, l2_width=2.5, code_bits=20)
    same = collisions(spec, *row_and_query(cosine, length))
    distance = theory.transformed_distance(transform, cosine * length, length)
    share = theory.code_collision(theory.l2(distance, 2.5), 1, 1 << 20)
    assert_share(same.sum(), same.size, share)


@pytest.mark.parametrize("transform", ["simple", "sign_alsh"])
def test_cross_polytope_of_a_transform_sees_the_inner_product(transform):
    """Fast rotations of 201 coordinates or more, over many pairs of one product."""
    pairs = [row_and_query(0.8, 0.9, 200, seed) for seed in range(1500)]
    rows, queries = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    same = collisions(HashSpec("cross_polytope", 1, 96, 0, 200, dim=16, transform=transform), rows, queries)
    angle = np.arccos(theory.transformed_cosine(transform, 0.8 * 0.9, 0.9))
    assert_mean(same.mean(1), theory.cross_polytope(angle, 16))


def test_longer_rows_with_equal_angles_collide_more():
    """What angles alone cannot see: by the inner product, the longer row is nearer."""
    shares = []
    for length in (0.3, 0.6, 1.0):
        spec = HashSpec("srp", 1, N_HASHES, 0, 40, transform="simple")
        shares.append(collisions(spec, *row_and_query(0.9, length)).mean())
    assert np.all(np.diff(shares) > 0.05), shares
