"""Probes come in the order of how often they hold the neighbour."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.lsh import Hasher, HashSpec
from tests.statistical.chance import Z, pairs_apart, pairs_at

FAMILIES = [
    ("srp", {"n_hashes": 8}),
    ("sparse_srp", {"n_hashes": 8}),
    ("fast_srp", {"n_hashes": 8}),
    ("cross_polytope", {"n_hashes": 2, "dim": 32}),
    ("wta", {"n_hashes": 2}),
    ("dwta", {"n_hashes": 2}),
    ("l2", {"n_hashes": 3, "l2_width": 3.0}),
]
N_PROBES = 5


def neighbours(family, n=4000, n_dims=128):
    return pairs_apart(2.5, n, n_dims) if family == "l2" else pairs_at(0.7, n, n_dims)


def hits_and_scores(family, n_probes=N_PROBES, n_tables=40, **changes):
    """Return bool[n, n_tables, n_codes], where a probe is the bucket of the neighbour, and the scores."""
    stored, queries = neighbours(family)
    spec = HashSpec(family=family, n_tables=n_tables, n_probes=n_probes, n_dims=128, **changes)
    probes, scores = Hasher(spec).probes_scored(queries)
    return probes == Hasher(spec).codes(stored)[:, :, None], scores, spec


@pytest.mark.parametrize(("family", "changes"), FAMILIES)
def test_each_probe_holds_the_neighbour_more_often_than_the_next(family, changes):
    """By distance (Lv et al. 2007): from the query's own bucket on, and the last still far above chance."""
    hits, _, spec = hits_and_scores(family, **changes)
    shares = hits.mean((0, 1))
    assert np.all(np.diff(shares) < 0), shares
    assert shares[-1] > 2 / spec.n_buckets


@pytest.mark.parametrize(("family", "changes"), FAMILIES)
def test_fewer_steps_hold_the_neighbour_more_often(family, changes):
    """Step-wise: probes of one step are found more often than those of two, all of them together."""
    hits, scores, _ = hits_and_scores(family, n_probes=12, probing="step_wise", **changes)
    shares = [hits[scores == steps].mean() for steps in (0, 1, 2) if np.any(scores == steps)]
    assert len(shares) >= 2 and np.all(np.diff(shares) < 0), shares


@pytest.mark.parametrize(("family", "changes"), FAMILIES)
def test_scores_compare_over_tables(family, changes):
    """Of all tables' probes together, those with lower scores hold the neighbour more often."""
    hits, scores, _ = hits_and_scores(family, **changes)
    hits, scores = hits[:, :, 1:], scores[:, :, 1:]
    ranks = scores.reshape(len(scores), -1).argsort(1, kind="stable")
    ordered = np.take_along_axis(hits.reshape(len(hits), -1), ranks, 1)
    quarters = [part.mean() for part in np.array_split(ordered, 4, axis=1)]
    noise = Z * np.sqrt(0.25 / ordered.size)
    assert quarters[0] > quarters[3] + noise and np.all(np.diff(quarters) < noise), quarters
