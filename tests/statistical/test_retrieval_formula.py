"""What hashers and tables retrieve together, family by family, against 1 - (1 - p^K)^L.

Each seed is a draw of all hash functions, hence a trial of its own; pairs within a seed are not.
"""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.lsh import Hasher, HashSpec, Tables, retrieve, table_specs, theory
from tests.statistical.chance import assert_mean, pairs_apart, pairs_at, set_pairs

N_PAIRS, N_SEEDS = 40, 150


def retrieved_share(spec, stored, queries):
    """Return the share of queries whose own row is among what they retrieve."""
    n = len(stored)
    arrays = {item.name: np.zeros(item.shape, item.dtype) for item in table_specs(spec, n, n)}
    tables, hasher = Tables(arrays, 0), Hasher(spec)
    max_norm = float(np.linalg.norm(stored, axis=1).max())
    tables.insert(np.arange(n, dtype=np.int32), hasher.codes(stored, max_norm=max_norm))
    ids, found = retrieve(tables, hasher.probes(queries))
    return np.mean([i in ids[i, : found[i]] for i in range(n)])


def assert_retrieval(family, stored, queries, p, n_hashes, n_tables, **changes):
    """Retrieval over draws of the hash functions is the formula's mean over the pairs' ``p``."""
    shares = []
    for seed in range(N_SEEDS):
        spec = HashSpec(family, n_hashes, n_tables, 0, stored.shape[1], seed=seed, **changes)
        shares.append(retrieved_share(spec, stored, queries))
    n_buckets = spec.n_buckets if family in theory.MIXED else None
    expected = np.mean(theory.retrieval_probability(p, n_hashes, n_tables, n_buckets))
    assert 0.2 < expected < 0.9
    assert_mean(shares, expected)


@pytest.mark.parametrize(("family", "n_dims"), [("srp", 48), ("sparse_srp", 400), ("fast_srp", 256)])
@pytest.mark.parametrize(("n_hashes", "n_tables"), [(4, 3), (8, 8)])
def test_projections_retrieve_by_angle(family, n_dims, n_hashes, n_tables):
    """p is 1 - angle / pi."""
    pairs = pairs_at(0.6, N_PAIRS, n_dims)
    assert_retrieval(family, *pairs, theory.srp(0.6), n_hashes, n_tables)


@pytest.mark.parametrize(("n_hashes", "n_tables"), [(1, 2), (2, 8)])
def test_cross_polytope_retrieves_by_angle(n_hashes, n_tables):
    """p is integrated."""
    pairs = pairs_at(0.7, N_PAIRS, 256)
    p = theory.cross_polytope(0.7, 16)
    assert_retrieval("cross_polytope", *pairs, p, n_hashes, n_tables, dim=16)


@pytest.mark.parametrize("family", ["wta", "dwta"])
def test_winner_take_all_retrieves_by_ranks(family):
    """p is each pair's own, from the ranks of its coordinates."""
    stored, queries = pairs_at(0.7, N_PAIRS, 200)
    p = [theory.wta_of(x, y, 4) for x, y in zip(stored, queries, strict=True)]
    assert_retrieval(family, stored, queries, p, 3, 6, bin_size=4)


def test_l2_retrieves_by_distance():
    """p is Datar's, and codes meet by chance."""
    pairs = pairs_apart(2.0, N_PAIRS, 30)
    assert_retrieval("l2", *pairs, theory.l2(2.0, 4.0), 4, 6, l2_width=4.0, code_bits=8)


@pytest.mark.parametrize(("family", "scale"), [("minhash", 1), ("doph", 10)])
def test_sets_retrieve_by_jaccard_similarity(family, scale):
    """p is the similarity, and codes meet by chance; doph's bins are enough for its hashes."""
    pairs = set_pairs(30 * scale, 10 * scale, 10 * scale, N_PAIRS, 2000)
    assert_retrieval(family, *pairs, theory.minhash(0.6), 3, 4, code_bits=8)


def test_a_transform_retrieves_by_inner_product():
    """p is that of the angle between P(x) and Q(q), row by row."""
    stored, queries = pairs_at(0.4, N_PAIRS, 48)
    lengths = np.linspace(0.2, 1, N_PAIRS, dtype=np.float32)
    angles = np.arccos(theory.transformed_cosine("simple", np.cos(0.4) * lengths, lengths))
    stored *= lengths[:, None]
    assert_retrieval("srp", stored, queries, theory.srp(angles), 6, 6, transform="simple")


@pytest.mark.parametrize(("family", "changes"), [("srp", {}), ("l2", {"l2_width": 12.0, "code_bits": 10})])
def test_as_many_rows_are_retrieved_as_expected(family, changes):
    """Of rows at all distances, near ones and far: the sum of their retrieval probabilities."""
    random = np.random.default_rng(5)
    rows = random.standard_normal((1500, 24)).astype(np.float32)
    queries = rows[:30] + random.standard_normal((30, 24)).astype(np.float32)
    if family == "srp":
        lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(rows, axis=1)
        similarity = queries @ rows.T / lengths
    else:
        similarity = np.linalg.norm(queries[:, None] - rows, axis=2)
    counts = []
    for seed in range(N_SEEDS):
        spec = HashSpec(family, 6, 5, 0, 24, seed=seed, **changes)
        arrays = {item.name: np.zeros(item.shape, item.dtype) for item in table_specs(spec, 1500, 1500)}
        tables, hasher = Tables(arrays, 0), Hasher(spec)
        tables.insert(np.arange(1500, dtype=np.int32), hasher.codes(rows))
        counts.append(retrieve(tables, hasher.probes(queries))[1].mean())
    expected = theory.retrieval_of(spec, similarity).sum() / len(queries)
    assert_mean(counts, expected)
