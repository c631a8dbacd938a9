"""Families of rotations and bins against slow recomputations of codes and of probes' scores."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from distlsh.kernels.bins import fill_bins
from distlsh.kernels.rotation import N_OWN, N_SHARED, fill_signs
from distlsh.lsh import Hasher, HashSpec
from tests.lsh.slow import assert_best, borrowed, gaussian, scores_of


def coordinates(spec, rows, per_hash):
    """All rotations' coordinates, one after the other; exact for small integers."""
    width = max(64, 1 << (spec.n_dims - 1).bit_length(), per_hash)
    n_rotations = -(-spec.n_tables * spec.n_hashes * per_hash // width)
    signs = np.empty((N_SHARED + N_OWN * n_rotations, width), np.float32)
    fill_signs(np.uint64(spec.seed), signs)
    values = np.zeros((len(rows), width))
    values[:, : spec.n_dims] = rows
    for row in range(N_SHARED):
        values = (values * signs[row]) @ hadamard(width)
    turned = []
    for rotation in range(n_rotations):
        own = values
        for row in range(N_SHARED + rotation * N_OWN, N_SHARED + (rotation + 1) * N_OWN):
            own = (own * signs[row]) @ hadamard(width)
        turned.append(own)
    return np.concatenate(turned, axis=1)


def blocks_of(spec, rows):
    """Coordinates as [m, L, K, dim] of a cross-polytope, or [m, L, K] of fast_srp."""
    per_hash = spec.dim if spec.family == "cross_polytope" else 1
    flat = coordinates(spec, rows, per_hash)[:, : spec.n_tables * spec.n_hashes * per_hash]
    shape = (len(rows), spec.n_tables, spec.n_hashes)
    return flat.reshape(*shape, per_hash) if per_hash > 1 else flat.reshape(shape)


def joined(digits, base):
    code = np.zeros(digits.shape[:-1], np.int64)
    for k in range(digits.shape[-1]):
        code = code * base + digits[..., k]
    return code


@settings(max_examples=25, deadline=None)
@given(
    n_dims=st.integers(1, 64),
    m=st.integers(1, 20),
    dim=st.sampled_from([2, 8, 32, 64, 128]),
    n_hashes=st.integers(1, 3),
    seed=st.integers(0, 2**40),
)
def test_cross_polytope_codes_are_argmax(n_dims, m, dim, n_hashes, seed):
    """A digit is the coordinate of largest magnitude in its block, and its sign."""
    spec = HashSpec("cross_polytope", n_hashes, 5, 0, n_dims, dim=dim, seed=seed)
    rows = np.random.default_rng(seed).integers(-1, 2, (m, n_dims)).astype(np.float32)
    blocks = blocks_of(spec, rows)
    # Magnitudes are compared but for their lowest log2(dim) bits; then the higher place wins.
    bits = np.abs(blocks).astype(np.float32).view(np.uint32) & np.uint32(0xFFFFFFFF ^ (dim - 1))
    place = dim - 1 - np.argmax(bits[..., ::-1], axis=-1)
    value = np.take_along_axis(blocks, place[..., None], -1)[..., 0]
    expected = joined(2 * place + (value < 0), 2 * dim)
    got = Hasher(spec).codes(rows)
    live = np.any(rows != 0, axis=1)
    np.testing.assert_array_equal(got[live], expected[live])


@settings(max_examples=25, deadline=None)
@given(
    n_dims=st.integers(1, 64), m=st.integers(1, 20), n_hashes=st.integers(1, 20), seed=st.integers(0, 2**40)
)
def test_fast_srp_codes_are_signs(n_dims, m, n_hashes, seed):
    """A bit says whether its coordinate is above 0, the first hash the highest bit."""
    spec = HashSpec("fast_srp", n_hashes, 9, 0, n_dims, seed=seed)
    rows = np.random.default_rng(seed).integers(-8, 9, (m, n_dims)).astype(np.float32)
    expected = joined((blocks_of(spec, rows) > 0).astype(int), 2)
    np.testing.assert_array_equal(Hasher(spec).codes(rows), expected)


def test_wide_cross_polytope_codes_are_argmax_of_floats():
    """On real vectors codes are the plain argmax wherever it leads by more than the key's precision."""
    spec = HashSpec("cross_polytope", 1, 40, 0, 1000, dim=64)
    rows = gaussian(40, 1000)
    blocks = blocks_of(spec, rows)[:, :, 0]
    two = np.sort(np.abs(blocks), axis=-1)[..., -2:]
    clear = two[..., 1] > two[..., 0] * 1.0001
    place = np.abs(blocks).argmax(-1)
    negative = np.take_along_axis(blocks, place[..., None], -1)[..., 0] < 0
    got = Hasher(spec).codes(rows)
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(got[clear], (2 * place + negative)[clear])


@pytest.mark.parametrize(("n_hashes", "dim", "n_probes"), [(1, 64, 12), (2, 16, 4), (2, 16, 20), (3, 4, 9)])
def test_cross_polytope_probes_have_the_best_scores(n_hashes, dim, n_probes):
    """Probes minimise the summed squared gap to each block's largest magnitude."""
    spec = HashSpec("cross_polytope", n_hashes, 6, n_probes, 90, dim=dim)
    rows = gaussian(9, 90)
    probes, blocks = Hasher(spec).probes(rows), blocks_of(spec, rows)
    for i, table in itertools.product(range(9), range(6)):
        costs = []
        for block in blocks[i, table]:
            gaps = (np.abs(block).max() - np.abs(block)) ** 2
            costs.append({2 * j + int(block[j] < 0): gaps[j] for j in range(dim)})
        assert_best(probes[i, table], scores_of(costs, 2 * dim))


@pytest.mark.parametrize(("n_hashes", "n_probes"), [(1, 1), (4, 15), (10, 4), (10, 30)])
def test_fast_srp_probes_have_the_best_scores(n_hashes, n_probes):
    """Probes minimise the summed squared margins of the bits they flip."""
    spec = HashSpec("fast_srp", n_hashes, 6, n_probes, 90)
    rows = gaussian(9, 90)
    probes, values = Hasher(spec).probes(rows), blocks_of(spec, rows)
    for i, table in itertools.product(range(9), range(6)):
        costs = [{int(v > 0): 0.0, int(v <= 0): v * v} for v in values[i, table]]
        assert_best(probes[i, table], scores_of(costs, 2))


def dwta_bins(spec):
    bins = np.empty((spec.n_tables * spec.n_hashes, spec.bin_size), np.int32)
    fill_bins(np.uint64(spec.seed), spec.n_dims, np.empty(spec.n_dims, np.int32), bins)
    return bins


def slow_dwta_costs(spec, row):
    """One {digit: squared gap to the winner} a hash, after densification."""
    padded = np.append(row, np.float32(0))
    winners = []
    for bin_ in dwta_bins(spec):
        values = {j: float(padded[dim]) for j, dim in enumerate(bin_) if padded[dim] != 0}
        best = max(values.values(), default=0.0)
        winners.append({j: (best - value) ** 2 for j, value in values.items()})
    donors = borrowed([bool(winner) for winner in winners], spec.seed)
    filled = [winners[donor] or {0: 0.0} for donor in donors]
    k = spec.n_hashes
    return [filled[table * k : (table + 1) * k] for table in range(spec.n_tables)]


@settings(max_examples=25, deadline=None)
@given(
    n_dims=st.integers(1, 70),
    bin_size=st.sampled_from([2, 4, 8, 32]),
    n_probes=st.sampled_from([0, 1, 3, 5]),
    density=st.sampled_from([0.02, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 2**40),
)
def test_dwta_probes_have_the_best_scores(n_dims, bin_size, n_probes, density, seed):
    """Winners of each bin make the code, zeros are no values, empty bins borrow, runners-up are probed."""
    n_probes = min(n_probes, bin_size**2 - 1)
    spec = HashSpec("dwta", 2, 5, n_probes, n_dims, bin_size=bin_size, seed=seed)
    random = np.random.default_rng(seed)
    rows = gaussian(6, n_dims, seed) * (random.random((6, n_dims)) < density)
    rows = np.round(rows, 2).astype(np.float32)
    probes, codes = Hasher(spec).probes(rows), Hasher(spec).codes(rows)
    np.testing.assert_array_equal(probes[:, :, 0], codes)
    for i in range(6):
        for table, costs in enumerate(slow_dwta_costs(spec, rows[i])):
            assert_best(probes[i, table], scores_of(costs, bin_size))


@pytest.mark.parametrize(("n_dims", "bin_size"), [(64, 8), (100, 8), (5, 8), (7, 2)])
def test_bins_of_one_permutation_share_no_dimension(n_dims, bin_size):
    """Every n_dims // bin_size consecutive bins come from one permutation."""
    bins = np.empty((40, bin_size), np.int32)
    fill_bins(np.uint64(5), n_dims, np.empty(n_dims, np.int32), bins)
    assert 0 <= bins.min() <= bins.max() <= n_dims
    per_order = max(1, n_dims // bin_size)
    for first in range(0, 40 - per_order + 1, per_order):
        dims = bins[first : first + per_order].ravel()
        used = dims[dims < n_dims]
        assert len(np.unique(used)) == len(used) == min(n_dims, per_order * bin_size)


@settings(max_examples=25, deadline=None)
@given(
    n_dims=st.integers(1, 70),
    bin_size=st.sampled_from([2, 4, 8]),
    n_probes=st.sampled_from([0, 1, 3]),
    density=st.sampled_from([0.1, 0.5, 1.0]),
    seed=st.integers(0, 2**40),
)
def test_wta_probes_have_the_best_scores(n_dims, bin_size, n_probes, density, seed):
    """The largest of a bin makes a digit, zeros are values, runners-up are probed, missing places never."""
    n_probes = min(n_probes, bin_size**2 - 1)
    spec = HashSpec("wta", 2, 5, n_probes, n_dims, bin_size=bin_size, seed=seed)
    random = np.random.default_rng(seed)
    rows = gaussian(6, n_dims, seed) * (random.random((6, n_dims)) < density)
    rows = np.round(rows, 2).astype(np.float32)
    probes = Hasher(spec).probes(rows)
    bins = dwta_bins(spec)
    for i, table in itertools.product(range(6), range(5)):
        costs = []
        for bin_ in bins[2 * table : 2 * table + 2]:
            values = {j: float(rows[i, dim]) for j, dim in enumerate(bin_) if dim < n_dims}
            best = max(values.values())
            costs.append({j: (best - value) ** 2 for j, value in values.items()})
        assert_best(probes[i, table], scores_of(costs, bin_size))


def test_steps_of_cross_polytopes_go_by_rank():
    """Step-wise probes of a cross-polytope take its coordinates by magnitude."""
    spec = HashSpec("cross_polytope", 1, 6, 5, 64, dim=16, probing="step_wise")
    rows = gaussian(9, 64)
    probes, scores = Hasher(spec).probes_scored(rows)
    blocks = blocks_of(spec, rows)[:, :, 0]
    np.testing.assert_array_equal(probes // 2, np.argsort(-np.abs(blocks), axis=-1)[:, :, :6])
    assert np.all(scores == np.arange(6))
