"""Closed forms against cases computed by hand, limits, and each other."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import integrate, stats

from distlsh.errors import ConfigError, UsageError
from distlsh.lsh import HashSpec, theory, transforms

ANGLES = np.array([0.0, 0.01, 0.3, 1.0, np.pi / 2, 2.0, np.pi])


def test_srp_is_one_minus_the_share_of_half_a_turn():
    """A right angle gives a half, 60 degrees two thirds."""
    np.testing.assert_allclose(theory.srp([0, np.pi / 3, np.pi / 2, np.pi]), [1, 2 / 3, 1 / 2, 0])


def test_one_dimensional_cross_polytope_is_a_hyperplane():
    """With one coordinate only its sign is left."""
    np.testing.assert_allclose(theory.cross_polytope(ANGLES, 1), theory.srp(ANGLES), atol=1e-12)


def test_wta_of_two_coordinates_is_a_hyperplane():
    """Which of two is larger is the sign of their difference."""
    np.testing.assert_allclose(theory.wta(ANGLES, 2), theory.srp(ANGLES), atol=1e-12)


@pytest.mark.parametrize("n", [2, 16, 256])
def test_right_angles_collide_by_chance(n):
    """Independent coordinates: each of 2n vertices, or of n places, is as likely as the others."""
    assert theory.cross_polytope(np.pi / 2, n) == pytest.approx(1 / (2 * n), rel=1e-10)
    assert theory.wta(np.pi / 2, n) == pytest.approx(1 / n, rel=1e-10)


def test_three_way_wta_is_the_plain_integral():
    """3 times the integral of SciPy's bivariate density and its squared distribution function, on a grid."""
    angle, rho = 0.9, math.cos(0.9)
    normal = stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]])
    grid = np.linspace(-6, 6, 121)
    X, Y = np.meshgrid(grid, grid, indexing="ij")
    values = normal.pdf(np.stack([X, Y], -1)) * normal.cdf(np.stack([X, Y], -1)) ** 2
    wanted = 3 * integrate.simpson(integrate.simpson(values, x=grid), x=grid)
    assert theory.wta(angle, 3) == pytest.approx(wanted, abs=1e-4)


def test_cross_polytope_nears_its_asymptotic_exponent():
    """-ln p / ln d comes nearer to t^2 / (4 - t^2) as d grows, from above."""
    angle = 1.0
    exponents = [-np.log(theory.cross_polytope(angle, d)) / np.log(d) for d in (16, 128, 1024, 8192)]
    limit = -np.log(theory.cross_polytope_asymptotic(angle, 128)) / np.log(128)
    gaps = np.abs(np.array(exponents) - limit)
    assert np.all(np.diff(gaps) < 0), exponents
    assert limit == pytest.approx((2 - 2 * np.cos(1)) / (2 + 2 * np.cos(1)))


def test_wta_of_counts_bins_by_hand():
    """Of the bins of three of four coordinates, those with the same winner; here all bins are tried."""
    random = np.random.default_rng(0)
    for size in (2, 3, 4):
        x, y = random.standard_normal((2, 9))
        bins = [list(places) for places in combinations(range(9), size)]
        wanted = np.mean([x[b].argmax() == y[b].argmax() for b in bins])
        assert theory.wta_of(x, y, size) == pytest.approx(wanted)


def test_dwta_of_is_wta_of_without_zeros():
    """Nothing is empty, nothing borrowed."""
    x, y = np.random.default_rng(1).standard_normal((2, 30))
    assert theory.dwta_of(x, y, 8) == pytest.approx(theory.wta_of(x, y, 8))


def test_winner_take_all_of_odd_pairs():
    """Vectors of zeros have the same codes, one beside another's is a guess; bins must fit into vectors."""
    assert theory.dwta_of(np.zeros(9), np.zeros(9), 4) == 1
    assert theory.dwta_of(np.zeros(9), np.arange(9), 4) == pytest.approx(1 / 4)
    for function in (theory.wta_of, theory.dwta_of):
        with pytest.raises(UsageError, match="fill no bin of 8"):
            function([1, 2], [2, 1], 8)


def test_dwta_of_a_hand_made_pair():
    """Bins of one of four places: one agrees, two are lone (digit of 1 place: always equal), one is empty."""
    assert theory.dwta_of([1, 2, 0, 0], [3, 0, 1, 0], 1) == pytest.approx(1.0)
    # Bins of two of three places (0, 1), (0, 2), (1, 2): in x = [2, 1, 0], y = [2, 0, 0] the first two are
    # won by place 0 in both; the third is empty in y alone and meets x's digit with 1/2.
    assert theory.dwta_of([2, 1, 0], [2, 0, 0], 2) == pytest.approx((2 + 1 / 2) / 3)
    # A bin empty in both, (2, 3), passes on: of the other five, (0, 1), (0, 2), (0, 3) agree.
    assert theory.dwta_of([2, 1, 0, 0], [2, 0, 0, 0], 2) == pytest.approx((3 + 2 / 2) / 5)


def test_l2_is_the_integral_of_datar():
    """The density of |w.(x - y)| times 1 - t / r over [0, r], by quadrature."""
    for u in (0.3, 1.0, 2.5, 40.0):
        wanted, _ = integrate.quad(lambda t, u=u: 2 * stats.norm.pdf(t, scale=u) * (1 - t / 4), 0, 4)
        assert theory.l2(u, 4.0) == pytest.approx(wanted, abs=1e-10)
    np.testing.assert_allclose(theory.l2([0.0, 1e9], 4.0), [1, 0], atol=1e-8)


@pytest.mark.parametrize("family", [*theory.COSINE, *theory.JACCARD, "l2"])
def test_nearer_is_likelier_in_every_family(family):
    """Strictly, from certain at identity; a distance is nearer when smaller."""
    similarities = np.linspace(1, 0.05, 20)
    if family == "l2":
        similarities = np.linspace(0, 10, 20)
    found = theory.collision_probability(family, similarities)
    assert found[0] == pytest.approx(1, abs=1e-7)
    assert np.all(np.diff(found) < 0)


def test_collision_probability_takes_cosines_and_parameters():
    """A cosine of 1/2 is 60 degrees; dim, bin_size and l2_width reach their formulas."""
    assert theory.collision_probability("sparse_srp", 0.5) == pytest.approx(2 / 3)
    assert theory.collision_probability("minhash", 0.3) == pytest.approx(0.3)
    for family, changes in (
        ("cross_polytope", {"dim": 16}),
        ("dwta", {"bin_size": 4}),
        ("l2", {"l2_width": 1.0}),
    ):
        assert theory.collision_probability(family, 0.5, **changes) != theory.collision_probability(
            family, 0.5
        )
    with pytest.raises(ConfigError, match="minhash, doph, l2"):
        theory.collision_probability("simhash", 0.5)


def test_a_spec_names_its_own_parameters_and_transform():
    """The same as by hand; codes of l2 also meet by chance."""
    spec = HashSpec("cross_polytope", 2, 5, 0, 64, dim=16)
    p = theory.cross_polytope(np.pi / 3, 16)
    assert theory.collision_probability(spec, 0.5) == pytest.approx(p)
    assert theory.retrieval_of(spec, 0.5) == pytest.approx(1 - (1 - p**2) ** 5)
    spec = HashSpec("srp", 1, 1, 0, 64, transform="simple")
    assert theory.collision_probability(spec, 0.5, length=0.7) == pytest.approx(2 / 3)
    spec = HashSpec("l2", 1, 1, 0, 64, transform="l2_alsh", l2_width=2.0, code_bits=3)
    p = theory.l2(np.sqrt(1.75 - 2 * 0.83 * 0.5 + (0.83 * 0.7) ** 16), 2.0)
    assert theory.collision_probability(spec, 0.5, length=0.7) == pytest.approx(p)
    assert theory.retrieval_of(spec, 0.5, 0.7) == pytest.approx(p + (1 - p) / 8)


@pytest.mark.parametrize("kind", transforms.TRANSFORMS)
def test_transformed_cosines_and_distances_are_those_of_the_vectors(kind):
    """The closed forms agree with the coordinates that `lsh.transforms` makes."""
    random = np.random.default_rng(2)
    X, Q = random.standard_normal((2, 40, 6)).astype(np.float32)
    X *= random.random((40, 1)).astype(np.float32)
    M = transforms.largest_norm(X)
    P, T = transforms.rows(kind, X, M).astype(float), transforms.queries(kind, Q).astype(float)
    if kind == "none":
        P, T = P / M, T / np.linalg.norm(T, axis=1, keepdims=True)
    lengths = np.linalg.norm(X, axis=1) / M
    products = (X * Q).sum(1) / M / np.linalg.norm(Q, axis=1)
    cosines = (P * T).sum(1) / np.linalg.norm(P, axis=1) / np.linalg.norm(T, axis=1)
    np.testing.assert_allclose(theory.transformed_cosine(kind, products, lengths), cosines, atol=1e-6)
    distances = np.linalg.norm(P - T, axis=1)
    np.testing.assert_allclose(theory.transformed_distance(kind, products, lengths), distances, atol=1e-5)


def test_retrieval_by_hand():
    """p = 1/2, K = 2, L = 3: 1 - (3/4)^3; with four buckets, codes that differ meet in a quarter of cases."""
    assert theory.retrieval_probability(0.5, 2, 3) == pytest.approx(1 - 0.75**3)
    assert theory.code_collision(0.5, 2, 4) == pytest.approx(1 / 4 + 3 / 4 / 4)
    assert theory.retrieval_probability(0.5, 2, 3, 4) == pytest.approx(1 - (9 / 16) ** 3)
    np.testing.assert_allclose(theory.retrieval_probability([0, 1], 5, 7), [0, 1])
    assert theory.expected_candidates([1, 0, 0.5], 2, 3) == pytest.approx(1 + 1 - 0.75**3)


def test_tables_needed_reach_the_recall_and_no_fewer_do():
    """L tables reach it and L - 1 do not; a recall met exactly takes no table more."""
    for p1, n_hashes, recall in ((0.9, 8, 0.95), (0.7, 4, 0.5), (0.99, 1, 0.2), (0.6, 12, 0.999)):
        n = theory.tables_needed(p1, n_hashes, recall)
        assert theory.retrieval_probability(p1, n_hashes, n) >= recall
        assert n == 1 or theory.retrieval_probability(p1, n_hashes, n - 1) < recall
    assert theory.tables_needed(0.5, 1, 0.875) == 3
    assert theory.tables_needed(1.0, 5, 0.9) == 1


def test_hashes_needed_leave_less_than_one_far_row():
    """2^20 rows that collide in half the hashes need 20 of them."""
    assert theory.hashes_needed(0.5, 1 << 20) == 20
    assert theory.hashes_needed(0.9, 1) == 1


def test_rho_of_srp_by_hand():
    """ln(1/0.9) / ln(1/0.5)."""
    assert theory.rho(0.9, 0.5) == pytest.approx(0.15200309, abs=1e-8)


def test_no_number_of_tables_finds_what_never_collides():
    """Where p1^K is 0 in float64, the error says what to lower."""
    with pytest.raises(UsageError, match="lower n_hashes"):
        theory.tables_needed(1e-200, 2, 0.9)


@pytest.mark.parametrize(
    "call",
    [
        lambda: theory.tables_needed(0.0, 2, 0.5),
        lambda: theory.tables_needed(0.5, 2, 1.0),
        lambda: theory.hashes_needed(1.0, 10),
        lambda: theory.retrieval_probability(1.5, 2, 3),
        lambda: theory.retrieval_probability(np.nan, 2, 3),
    ],
)
def test_what_is_no_probability_is_refused(call):
    """The message shows the value found and the range allowed."""
    with pytest.raises(UsageError, match="must be in"):
        call()
