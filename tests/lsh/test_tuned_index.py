"""`LSHIndex.tune`: an index that reaches a recall."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from distlsh.errors import ConfigError, UsageError
from distlsh.lsh.index import LSHIndex


def planted(n, part, n_dims=40, noise=0.5):
    centers = np.random.default_rng(0).standard_normal((250, n_dims))
    random = np.random.default_rng((2, part))
    rows = centers[random.integers(0, 250, n)] + noise * random.standard_normal((n, n_dims))
    return rows.astype(np.float32)


def truth(rows, queries, metric, k):
    scores = queries.astype(np.float64) @ rows.T
    if metric == "cosine":
        scores /= np.linalg.norm(rows, axis=1)
    elif metric == "euclidean":
        scores -= (rows.astype(np.float64) ** 2).sum(axis=1) / 2
    return np.argsort(-scores, axis=1)[:, :k]


def recall(index, rows, queries, metric, k=10):
    found, _ = index.search(queries, k)
    pairs = zip(found, truth(rows, queries, metric, k), strict=True)
    return np.mean([len(set(a) & set(b)) / k for a, b in pairs])


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_a_tuned_index_reaches_its_goal_on_other_queries(metric):
    """Searches with fresh queries have the recall asked for, and meet as few candidates as was said.

    400 queries: a standard error below 0.5 / 20 = 0.025, and 4 of them below the goal.
    """
    rows, fresh = planted(4000, 0), planted(400, 1)
    options = {"queries": planted(600, 2), "metric": metric, "families": ["cross_polytope"], "sample": 300}
    index = LSHIndex.tune(rows, 0.8, 10, 0.1, **options)
    best = index.tuning_.best
    assert best.meets and index.tuning_.out_of_reach is None
    assert recall(index, rows, fresh, metric) > 0.8 - 4 * 0.025
    assert index.candidates(fresh).nnz / 400 == pytest.approx(best.candidates, rel=0.2)
    assert replace(index.spec_, l2_width=best.spec.l2_width) == best.spec  # which only l2 looks at


def test_a_higher_goal_finds_more():
    """Goals of 0.5 and 0.95 over the rows themselves are both met, by different parameters."""
    rows, fresh = planted(3000, 0), planted(300, 1)
    options = {"families": ["fast_srp"], "sample": 300}
    low, high = (LSHIndex.tune(rows, goal, 5, **options) for goal in (0.5, 0.95))
    assert low.get_params() != high.get_params()
    assert recall(high, rows, fresh, "cosine", 5) > max(
        0.95 - 4 * 0.029, recall(low, rows, fresh, "cosine", 5)
    )


def test_sets_are_tuned_by_minhash_or_doph():
    """Sparse sets with one near copy each are found with the recall asked for."""
    random = np.random.default_rng(3)
    base = random.random((600, 300)) < 0.1
    copies = base & (random.random(base.shape) < 0.8)
    rows = csr_array(np.concatenate([base, copies]).astype(np.float32))
    index = LSHIndex.tune(rows, 0.8, 1, metric="jaccard", sample=300)
    ids, _ = index.search(rows[:600], 2)
    assert index.family in ("minhash", "doph") and index.tuning_.best.meets
    assert np.mean([i + 600 in found for i, found in enumerate(ids)]) > 0.8 - 4 * 0.03


def test_what_cannot_be_reached_is_said():
    """An index is made anyway, the nearest to the goal within its limits."""
    index = LSHIndex.tune(planted(2000, 0), 0.99, 10, 4, families=["cross_polytope"], sample=200)
    assert "out of reach within 4 candidates" in index.tuning_.out_of_reach
    assert index.tuning_.best.candidates <= 4 and len(index) == 2000


def test_wrong_goals_and_families_are_refused():
    """Errors name what was found, as those of fit do."""
    with pytest.raises(UsageError, match="target_recall is 2"):
        LSHIndex.tune(planted(100, 0), 2.0)
    with pytest.raises(ConfigError, match="minhash does not serve metric 'cosine'"):
        LSHIndex.tune(planted(100, 0), families=["minhash"])
    with pytest.raises(ConfigError, match="metric is 'angle'"):
        LSHIndex.tune(planted(100, 0), metric="angle")
