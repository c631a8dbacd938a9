"""Families that read projections, against matrix products."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from distlsh.kernels.gaussian import fill_gaussian
from distlsh.kernels.mixing import fill_multipliers
from distlsh.kernels.slots import fill_offsets
from distlsh.lsh import Hasher, HashSpec
from distlsh.lsh.families.sparse_srp import TernaryProjection
from tests.lsh.slow import assert_best, gaussian, scores_of
from tests.lsh.splitmix import mix


def gaussian_matrix(spec):
    """The columns of the projections f4[n_dims, L * K], read out of their panels."""
    n = spec.n_tables * spec.n_hashes
    panels = np.zeros((-(-n // 64) * 4, spec.n_dims, 16), np.float32)
    fill_gaussian(np.uint64(spec.seed), n, panels)
    return panels.transpose(1, 0, 2).reshape(spec.n_dims, -1)[:, :n]


def signed_matrix(spec):
    """The 1, -1 and 0 of sparse_srp's projections [n_dims, L * K]."""
    projection = TernaryProjection(spec)
    matrix = np.zeros((spec.n_dims + 1, projection.n_lines))
    for sign, group, e, j in np.ndindex(projection.lists.shape):
        if e < projection.lengths[sign, group]:
            matrix[projection.lists[sign, group, e, j], 4 * group + j] += 1 - 2 * sign
    return matrix[:-1, : spec.n_tables * spec.n_hashes]


@settings(max_examples=25, deadline=None)
@given(
    family=st.sampled_from(["srp", "sparse_srp"]),
    n_dims=st.integers(1, 90),
    m=st.integers(1, 20),
    n_hashes=st.integers(1, 12),
    density=st.sampled_from([0.01, 1 / 3, 1.0]),
    seed=st.integers(0, 2**40),
)
def test_srp_codes_are_signs_of_a_matrix_product(family, n_dims, m, n_hashes, density, seed):
    """A bit is the sign of the product with its column, the first hash the highest bit."""
    spec = HashSpec(family, n_hashes, 9, 0, n_dims, seed=seed, density=density)
    rows = np.random.default_rng(seed).integers(-8, 9, (m, n_dims)).astype(np.float32)
    matrix = gaussian_matrix(spec) if family == "srp" else signed_matrix(spec)
    products = (rows.astype(np.float64) @ matrix).reshape(m, 9, n_hashes)
    clear = np.abs(products) > 1e-4
    got = Hasher(spec).codes(rows)
    bits = (got[:, :, None] >> np.arange(n_hashes)[::-1]) & 1
    np.testing.assert_array_equal(bits[clear], products[clear] > 0)
    if family == "sparse_srp":  # sums of integers are exact
        np.testing.assert_array_equal(bits, products > 0)


@pytest.mark.parametrize("family", ["srp", "sparse_srp"])
@pytest.mark.parametrize(("n_hashes", "n_probes"), [(1, 1), (4, 15), (10, 30)])
def test_srp_probes_have_the_best_scores(family, n_hashes, n_probes):
    """Probes minimise the summed squared margins of the bits they flip."""
    spec = HashSpec(family, n_hashes, 6, n_probes, 90)
    rows = gaussian(9, 90)
    matrix = gaussian_matrix(spec) if family == "srp" else signed_matrix(spec)
    values = (rows.astype(np.float64) @ matrix).reshape(9, 6, n_hashes)
    probes = Hasher(spec).probes(rows)
    for i, table in itertools.product(range(9), range(6)):
        costs = [{int(v > 0): 0.0, int(v <= 0): v * v} for v in values[i, table]]
        assert_best(probes[i, table], scores_of(costs, 2))


@pytest.mark.parametrize("density", [0.05, 1 / 3, 1.0])
def test_sparse_projections_have_their_density(density):
    """Each column has density * d entries, half of them negative (six sigma); neighbours share none."""
    spec = HashSpec("sparse_srp", 10, 20, 0, 300, density=density)
    matrix = signed_matrix(spec)
    assert set(np.unique(matrix)) <= {-1, 0, 1}
    assert np.all(np.count_nonzero(matrix, axis=0) == round(density * 300))
    held = np.count_nonzero(matrix)
    assert abs(matrix.sum()) < 6 * np.sqrt(held)
    if density <= 0.5:
        assert not np.any(matrix[:, 0] * matrix[:, 1])


def test_gaussian_projections_are_normal():
    """Entries pass Kolmogorov and Smirnov's test (fails for one seed in 10,000) and are not correlated."""
    matrix = gaussian_matrix(HashSpec("srp", 8, 25, 0, 500)).astype(np.float64)
    assert stats.kstest(matrix.ravel(), "norm").pvalue > 1e-4
    correlations = np.corrcoef(matrix.T)[np.triu_indices(200, 1)]
    assert np.abs(correlations).max() < 6 / np.sqrt(500)
    longer = gaussian_matrix(HashSpec("srp", 8, 30, 0, 500))
    np.testing.assert_array_equal(longer[:, :200], matrix, "tables stay as they are when there are more")


def test_gaussian_numbers_are_those_of_the_polar_method():
    """Pairs by Marsaglia and Bray's method, its logarithm exact to a float32's precision."""
    seed, n_dims = 12345, 40
    matrix = gaussian_matrix(HashSpec("srp", 4, 4, 0, n_dims, seed=seed))
    for i, column in itertools.product(range(n_dims), range(0, 16, 2)):
        state, square = mix(mix(seed) ^ mix(column << 32 | i)), 0.0
        while not 0 < square < 1:
            state = mix(state)
            pair = np.array([state >> 32, state & 0xFFFFFFFF]) * 2.0**-31 - 1
            square = float(pair @ pair)
        wanted = pair * np.sqrt(-2 * np.log(square) / square)
        np.testing.assert_allclose(matrix[i, column : column + 2], wanted, rtol=2e-7)


def slots_of(spec, rows):
    """Where each projection lies, in slots: f8[m, L, K]."""
    products = rows.astype(np.float64) @ gaussian_matrix(spec)
    offsets = np.empty(products.shape[1], np.float32)
    fill_offsets(np.uint64(spec.seed), offsets)
    return (products / spec.l2_width + offsets).reshape(len(rows), spec.n_tables, spec.n_hashes)


def mixed(spec, table, slots):
    """The code of K slots, in Python's integers."""
    inverted = ~spec.seed & (2**64 - 1)
    multipliers = np.empty((spec.n_tables, 1 + spec.n_hashes), np.uint64)
    fill_multipliers(np.uint64(inverted), multipliers)
    total = int(multipliers[table, 0])
    for k, slot in enumerate(slots):
        total += int(multipliers[table, 1 + k]) * (int(slot) & 0xFFFFFFFF)
    return (total & (2**64 - 1)) >> (64 - spec.code_bits)


@pytest.mark.parametrize("code_bits", [1, 9, 16, 24])
def test_l2_codes_are_mixed_slots(code_bits):
    """A code is the universal hash of K slots, wherever no projection lies within 1e-4 of a border."""
    spec = HashSpec("l2", 3, 5, 0, 40, l2_width=1.5, code_bits=code_bits, seed=11)
    rows = gaussian(60, 40)
    places = slots_of(spec, rows)
    codes = Hasher(spec).codes(rows)
    checked = 0
    for i, table in itertools.product(range(60), range(5)):
        here = places[i, table]
        if np.all(np.abs(here - np.round(here)) > 1e-4):
            assert codes[i, table] == mixed(spec, table, np.floor(here))
            checked += 1
    assert checked > 290


def test_far_away_is_not_at_the_origin():
    """Vectors too long for slots to be counted share codes with those on their side alone."""
    hasher = Hasher(HashSpec("l2", 1, 200, 0, 8, code_bits=20))
    far = np.full((1, 8), 1e30, np.float32)
    plus, minus, origin, farther = (hasher.codes(rows)[0] for rows in (far, -far, 0 * far, 100 * far))
    assert not np.any((plus == minus) | (plus == origin) | (minus == origin))
    np.testing.assert_array_equal(plus, farther)


@pytest.mark.parametrize("probing", ["query_directed", "step_wise"])
@pytest.mark.parametrize(
    ("n_hashes", "n_probes", "code_bits"), [(1, 2, 16), (3, 8, 16), (3, 8, 4), (5, 20, 20)]
)
def test_l2_probes_have_the_best_scores(n_hashes, n_probes, code_bits, probing):
    """Probes are the codes of slots one aside whose summed squared distances to the borders are least."""
    spec = HashSpec("l2", n_hashes, 4, n_probes, 40, l2_width=1.5, code_bits=code_bits, probing=probing)
    rows = gaussian(9, 40)
    places = slots_of(spec, rows)
    probes, scores = Hasher(spec).probes_scored(rows)
    for i, table in itertools.product(range(9), range(4)):
        totals = {}
        below = places[i, table] - np.floor(places[i, table])
        for sides in itertools.product((-1, 0, 1), repeat=n_hashes):
            code = mixed(spec, table, np.floor(places[i, table]) + sides)
            cost = sum({-1: b * b, 0: 0, 1: (1 - b) ** 2}[s] for s, b in zip(sides, below, strict=True))
            cost = np.count_nonzero(sides) if probing == "step_wise" else cost
            totals[code] = min(cost, totals.get(code, np.inf))
        kept = [int(code) for code in probes[i, table] if code >= 0]
        best = sorted(totals.values())[: len(kept)]
        np.testing.assert_allclose([totals[code] for code in kept], best, atol=1e-3)
        np.testing.assert_allclose(scores[i, table, : len(kept)], best, atol=1e-3)
        assert len(kept) == min(spec.n_codes, len(totals)) or code_bits == 4


def test_steps_of_srp_go_bit_by_bit():
    """Step-wise probes flip single bits from the highest, then pairs, whatever the query."""
    hasher = Hasher(HashSpec("srp", 4, 3, 10, 20, probing="step_wise"))
    probes, scores = hasher.probes_scored(gaussian(5, 20))
    flips = (probes ^ probes[:, :, :1]).reshape(-1, 11)
    assert np.all(flips[:, 1:5] == [8, 4, 2, 1])
    assert np.all(flips == flips[0])
    assert set(flips[0, 5:]) == {12, 10, 9, 6, 5, 3}
    assert np.all(scores.reshape(-1, 11) == [0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2])


def test_steps_of_l2_go_hash_by_hash():
    """Step-wise probes take the slot below, then the one above, of each hash in turn."""
    spec = HashSpec("l2", 3, 4, 6, 40, l2_width=1.5, probing="step_wise")
    rows = gaussian(9, 40)
    places = np.floor(slots_of(spec, rows))
    sides = [side * np.eye(3)[k] for k in range(3) for side in (-1, 1)]
    expected = [[[mixed(spec, t, row[t] + side) for side in sides] for t in range(4)] for row in places]
    np.testing.assert_array_equal(Hasher(spec).probes(rows)[:, :, 1:], expected)
