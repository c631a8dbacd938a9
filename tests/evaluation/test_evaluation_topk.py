"""Exact blocked top-k against a full sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.evaluation import topk
from distlsh.evaluation.topk import exact_topk
from distlsh.kernels.topk import LANES, candidate_topk, mark_found, merge_topk


def reference(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort all scores: descending, equal ones by lower label; pad with -1 and -inf."""
    m, n = scores.shape
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    ids = np.full((m, k), -1, np.int32)
    best = np.full((m, k), -np.inf, np.float32)
    ids[:, : min(k, n)] = order
    best[:, : min(k, n)] = np.take_along_axis(scores, order, axis=1)
    return ids, best


def whole_numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Small whole numbers: exact in any order of summation, and full of ties."""
    return rng.integers(-2, 3, shape).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(1, 9),
    n=st.integers(1, 3 * LANES + 5),
    k=st.integers(1, 12),
    bias=st.booleans(),
    scale=st.sampled_from([1.0, 4.0]),
    blocks=st.tuples(st.integers(1, 9), st.integers(1, 2 * LANES + 3)),
    seed=st.integers(0, 2**32 - 1),
)
def test_exact_topk_equals_a_stable_sort_whatever_the_blocks(
    m: int, n: int, k: int, bias: bool, scale: float, blocks: tuple[int, int], seed: int
) -> None:
    """Ids, scores, order of ties and padding are those of a stable sort of all logits."""
    rng = np.random.default_rng(seed)
    hidden, weights, offsets = whole_numbers(rng, m, 5), whole_numbers(rng, n, 5), whole_numbers(rng, n, 1)
    logits = scale * hidden @ weights.T + (offsets.T if bias else 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topk, "ROW_BLOCK", blocks[0])
        patch.setattr(topk, "LABEL_BLOCK", blocks[1])
        ids, scores = exact_topk(hidden, weights, offsets if bias else None, scale, k)
    expected_ids, expected_scores = reference(logits.astype(np.float32), k)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(scores, expected_scores)


def test_exact_topk_reads_a_read_only_map(tmp_path) -> None:
    """Weights may be a read-only memory map, as a model's are."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "w.npy", whole_numbers(rng, 100, 4))
    weights = np.asarray(np.load(tmp_path / "w.npy", mmap_mode="r"))
    hidden = whole_numbers(rng, 3, 4)
    ids, _ = exact_topk(hidden, weights, None, 1.0, 5)
    np.testing.assert_array_equal(ids, reference(hidden @ weights.T, 5)[0])


def test_no_rows_give_empty_results() -> None:
    """Zero hidden vectors are no special case for the caller."""
    ids, scores = exact_topk(np.empty((0, 4), np.float32), np.ones((9, 4), np.float32), None, 1.0, 3)
    assert ids.shape == scores.shape == (0, 3)


def test_nan_scores_are_never_returned() -> None:
    """A NaN logit is left out, and the finite ones keep their order."""
    hidden = np.ones((1, 1), np.float32)
    weights = np.array([[1.0], [np.nan], [3.0], [2.0]], np.float32)
    ids, scores = exact_topk(hidden, weights, None, 1.0, 4)
    assert ids.tolist() == [[2, 3, 0, -1]]
    assert scores.tolist() == [[3.0, 2.0, 1.0, -np.inf]]


def test_merge_refuses_strided_blocks() -> None:
    """The kernel's signature takes C-ordered arrays only."""
    block = np.zeros((4, 8), np.float32).T
    ids, scores = np.full((8, 2), -1, np.int32), np.zeros((8, 2), np.float32)
    with pytest.raises(TypeError):
        merge_topk(block, topk.NO_BIAS, 0, ids, scores)


@settings(max_examples=40, deadline=None)
@given(
    m=st.integers(1, 5),
    n=st.integers(1, 30),
    k=st.integers(1, 8),
    bias=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_candidate_topk_equals_a_sort_of_the_candidates(
    m: int, n: int, k: int, bias: bool, seed: int
) -> None:
    """Only candidates are ranked, in any order given; ties go to the lower label."""
    rng = np.random.default_rng(seed)
    hidden, weights, offsets = whole_numbers(rng, m, 3), whole_numbers(rng, n, 3), whole_numbers(rng, n)
    counts = rng.integers(0, n + 1, m).astype(np.int32)
    candidates = np.stack([rng.permutation(n) for _ in range(m)]).astype(np.int32)
    logits = (2.0 * hidden @ weights.T + (offsets if bias else 0)).astype(np.float32)
    ids, scores = np.empty((m, k), np.int32), np.empty((m, k), np.float32)
    candidate_topk(hidden, weights, offsets if bias else topk.NO_BIAS, 2.0, candidates, counts, ids, scores)
    for i in range(m):
        some = np.sort(candidates[i, : counts[i]])
        expected_places, expected_scores = reference(logits[i : i + 1, some], k)
        expected = np.where(expected_places >= 0, np.append(some, -1)[expected_places], -1)
        np.testing.assert_array_equal(ids[i], expected[0])
        np.testing.assert_array_equal(scores[i], expected_scores[0])


def test_mark_found_by_hand() -> None:
    """Found, not found, beyond the count, and an unused place."""
    ids = np.array([[7, 3, 9, -1]], np.int32)
    candidates = np.array([[3, 7, 9]], np.int32)
    found = np.empty_like(ids)
    mark_found(ids, candidates, np.array([2], np.int32), found)
    assert found.tolist() == [[1, 1, 0, -1]]
