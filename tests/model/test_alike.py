"""Groups of vectors that are alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.model.alike import alike_groups


@given(n=st.integers(1, 300), parts=st.integers(1, 20), d=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_groups_share_out_all_rows_evenly(n, parts, d, seed):
    """Every row is in one group; sizes differ by little, whatever the vectors: equal ones and zeros too."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(0, 3, (n, d)).astype(np.float32)
    parts = min(parts, n)
    groups = alike_groups(vectors, parts, rng)
    assert len(groups) == parts
    assert sorted(np.concatenate(groups).tolist()) == list(range(n))
    sizes = [len(group) for group in groups]
    assert max(sizes) - min(sizes) <= 1 + np.log2(parts)


def test_near_vectors_are_in_one_group():
    """Sixteen separate clusters of equal size come out as the groups."""
    rng = np.random.default_rng(3)
    centres = 10 * rng.standard_normal((16, 24)).astype(np.float32)
    cluster = rng.permutation(np.repeat(np.arange(16), 64))
    vectors = centres[cluster] + rng.standard_normal((1024, 24)).astype(np.float32)
    same = [np.bincount(cluster[group]).max() / len(group) for group in alike_groups(vectors, 16, rng)]
    assert np.mean(same) > 0.6
    at_random = [np.bincount(cluster[part]).max() / len(part) for part in np.array_split(np.arange(1024), 16)]
    assert np.mean(at_random) < 0.25


def test_groups_come_in_random_order_and_repeat_with_the_seed():
    """Neighbouring groups are not taken one after the other; the same random numbers give the same groups."""
    line = np.arange(4096, dtype=np.float32)[:, None]
    found = [alike_groups(line, 64, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    middles = [[float(np.median(group)) for group in groups] for groups in found]
    assert middles[0] == middles[1] != middles[2]
    steps = np.abs(np.diff(middles[0]))
    assert np.median(steps) > 500, "64 would be the next group's"


@pytest.mark.parametrize("n", [1, 2, 7])
def test_as_many_groups_as_rows(n):
    """A group may be a single row."""
    groups = alike_groups(np.ones((n, 3), np.float32), n, np.random.default_rng(0))
    assert sorted(group.tolist() for group in groups) == [[i] for i in range(n)]
