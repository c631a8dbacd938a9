"""Exact top-k by 8-bit screening, against a full sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.evaluation import ranker, screening, topk
from distlsh.evaluation.ranker import ExactRanker
from distlsh.evaluation.screening import (
    RowCodes,
    _Screen,
    merge_parts,
    screened_candidates,
    screened_topk,
)
from distlsh.evaluation.topk import NO_BIAS, exact_topk
from distlsh.kernels import int8_tile
from distlsh.kernels.int8_tile import ROWS
from distlsh.kernels.topk import candidate_topk
from distlsh.model.network import Network
from distlsh.model.spec import NetworkSpec, array_shapes
from distlsh.model.storage import as_floats


def reference(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort all scores: descending, equal ones by lower label; pad with -1 and -inf."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    ids = np.full((len(scores), k), -1, np.int32)
    best = np.full((len(scores), k), -np.inf, np.float32)
    ids[:, : order.shape[1]] = order
    best[:, : order.shape[1]] = np.take_along_axis(scores, order, axis=1)
    return ids, best


def normals(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(
    m=st.integers(1, 40),
    n=st.integers(1, 3 * ROWS + 5),
    d=st.integers(1, 140),
    k=st.integers(1, 12),
    bias=st.booleans(),
    scale=st.sampled_from([1.0, 4.0]),
    kept=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_screened_topk_equals_a_stable_sort(
    m: int, n: int, d: int, k: int, bias: bool, scale: float, kept: bool, seed: int
) -> None:
    """Ids, scores, order of ties and padding are those of a stable sort of all logits."""
    rng = np.random.default_rng(seed)
    hidden, weights, offsets = (
        rng.integers(-2, 3, shape).astype(np.float32) for shape in ((m, d), (n, d), (n,))
    )
    codes = RowCodes.of(weights) if kept else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screening, "_CODE_BLOCK", 2 * ROWS)
        ids, scores = screened_topk(hidden, weights, offsets if bias else NO_BIAS, scale, k, codes)
    expected = reference(np.float32(scale) * hidden @ weights.T + (offsets if bias else np.float32(0)), k)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


@pytest.mark.parametrize("m", [3, 64])
def test_screening_finds_what_blas_finds(m: int) -> None:
    """On rows of many lengths, with biases, the labels are those of exact products."""
    rng = np.random.default_rng(5)
    hidden, weights = normals(rng, m, 200), normals(rng, 5000, 200)
    weights *= np.exp(2 * normals(rng, 5000, 1))
    offsets = 5 * normals(rng, 5000)
    ids, scores = screened_topk(hidden, weights, offsets, 3.0, 20)
    expected = reference(3.0 * hidden.astype(np.float64) @ weights.T.astype(np.float64) + offsets, 20)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_allclose(scores, expected[1], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("m", [2, 20])
def test_rows_that_differ_less_than_a_code_are_told_apart(m: int) -> None:
    """Rows whose codes are all equal are still ranked by their exact logits."""
    rng = np.random.default_rng(6)
    row = normals(rng, 64)
    change = rng.permutation(600).astype(np.float32)
    weights = np.tile(row, (600, 1))
    weights[:, 0] += change * 1e-5
    hidden = np.tile(np.abs(row), (m, 1))
    assert len(np.unique(RowCodes.of(weights).codes[:600], axis=0)) < 5
    ids, _ = screened_topk(hidden, weights, NO_BIAS, 1.0, 10)
    np.testing.assert_array_equal(ids, np.tile(np.argsort(-change)[:10], (m, 1)))


@pytest.mark.parametrize("m", [2, 20])
def test_rows_that_are_not_finite_neither_rank_nor_hide_others(m: int) -> None:
    """NaN logits are never taken, infinite ones are, and zeros and tiny rows do no harm."""
    rng = np.random.default_rng(7)
    hidden, weights = np.abs(normals(rng, m, 32)), normals(rng, 900, 32)
    weights[17, 3], weights[400, 5], weights[500], weights[501] = np.nan, np.inf, 0, 1e-38
    ids, scores = screened_topk(hidden, weights, NO_BIAS, 1.0, 4)
    with np.errstate(invalid="ignore"):
        logits = np.nan_to_num(hidden @ weights.T, nan=-np.inf, posinf=np.inf)
    expected = reference(logits, 4)
    np.testing.assert_array_equal(ids, expected[0])
    assert (ids[:, 0] == 400).all() and np.isinf(scores[:, 0]).all()


def test_queries_that_are_not_finite_or_zero() -> None:
    """A query of NaN finds nothing, a query of zeros ties everywhere."""
    weights = normals(np.random.default_rng(8), 700, 16)
    hidden = np.zeros((18, 16), np.float32)
    hidden[1] = np.nan
    ids, scores = screened_topk(hidden, weights, NO_BIAS, 1.0, 3)
    assert ids[1].tolist() == [-1, -1, -1]
    assert ids[0].tolist() == ids[17].tolist() == [0, 1, 2] and (scores[0] == 0).all()


@pytest.mark.parametrize("m", [4, 160])
def test_few_labels_are_scored(m: int) -> None:
    """The bound is tight: of 20,000 random rows fewer than one in fifty are scored in float32."""
    from distlsh.kernels.screening import screen_few, screen_rows

    rng = np.random.default_rng(9)
    hidden, weights = normals(rng, m, 128), normals(rng, 20_000, 128)
    codes, screen = RowCodes.of(weights), _Screen.of(hidden, 1.0, 5)
    args = (screen.panels, screen.facts, hidden, codes.codes, codes.facts, codes.starts, weights, NO_BIAS)
    best = screen.ids, screen.scores
    scratch = screen.scratch
    n_scored = (
        screen_few(*args, 1.0, 0, *best) if scratch is None else screen_rows(*args, 1.0, 0, *scratch, *best)
    )
    assert 5 * m <= n_scored < m * 20_000 / 50


def test_parts_of_the_labels_merge_to_the_whole() -> None:
    """Lists over ranges of labels merge with ties in order of labels."""
    rng = np.random.default_rng(10)
    scores = rng.integers(0, 4, (6, 40)).astype(np.float32)
    parts = []
    for first in (0, 15):
        ids, best = reference(scores[:, first : first + (15 if not first else 25)], 7)
        parts.append((ids + first, best))
    ids, best = merge_parts(parts, 7)
    expected = reference(scores, 7)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(best, expected[1])


def _network(n_labels: int, width: int) -> Network:
    spec = NetworkSpec(20, (width,), n_labels, bias=True)
    rng = np.random.default_rng(11)
    return Network(spec, {name: normals(rng, *shape) for name, shape in array_shapes(spec).items()})


@pytest.mark.parametrize("m", [1, 30])
def test_a_ranker_finds_the_same_in_one_thread_and_in_several(
    m: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that share the labels give what one thread gives, and both what BLAS gives."""
    monkeypatch.setattr(int8_tile, "LEAST_WORK", 1)
    monkeypatch.setattr(ranker, "_LEAST_LABELS", 100)
    network = _network(1000, 24)
    hidden = normals(np.random.default_rng(12), m, 24)
    exact = ExactRanker(network)
    one, several = exact.topk(hidden, 5), exact.topk(hidden, 5, n_threads=3)
    weights, bias = network.output.weights, network.output_bias.weights.reshape(-1)
    blas = topk._blas_topk(hidden, weights, bias, network.spec.logit_scale, 5)
    for found in (several, blas):
        np.testing.assert_array_equal(one[0], found[0])
        np.testing.assert_allclose(one[1], found[1], rtol=1e-5)


def test_small_outputs_keep_no_codes() -> None:
    """Where BLAS is as fast, nothing is kept in 8 bits."""
    assert ExactRanker(_network(1000, 24)).codes(5) is None


def test_screening_reads_a_read_only_map(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights may be a read-only memory map, as a model's are."""
    monkeypatch.setattr(int8_tile, "LEAST_WORK", 1)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "w.npy", normals(rng, 700, 4))
    weights = np.asarray(np.load(tmp_path / "w.npy", mmap_mode="r"))
    hidden = normals(rng, 6, 4)
    ids, _ = exact_topk(hidden, weights, None, 1.0, 5)
    np.testing.assert_array_equal(ids, reference(hidden @ weights.T, 5)[0])


@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 6), n=st.integers(1, 60), k=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
def test_screened_candidates_are_ranked_as_without_codes(m: int, n: int, k: int, seed: int) -> None:
    """Among candidates in any order, ids, ties and padding are those of scoring all of them in float32."""
    rng = np.random.default_rng(seed)
    hidden, weights = (rng.integers(-2, 3, shape).astype(np.float32) for shape in ((m, 9), (n, 9)))
    bias = rng.integers(-2, 3, n).astype(np.float32)
    candidates = np.stack([rng.permutation(n) for _ in range(m)]).astype(np.int32)
    counts = rng.integers(0, n + 1, m).astype(np.int32)
    ids, scores = np.empty((m, k), np.int32), np.empty((m, k), np.float32)
    candidate_topk(hidden, weights, bias, 2.0, candidates, counts, ids, scores)
    found = screened_candidates(hidden, weights, bias, 2.0, k, RowCodes.of(weights), candidates, counts)
    np.testing.assert_array_equal(found[0], ids)
    np.testing.assert_array_equal(found[1], scores)


@pytest.mark.parametrize("m", [3, 40])
def test_bfloat16_rows_are_screened_as_their_float32_values(m: int) -> None:
    """Rows stored by halves give what the same values give as float32, with candidates and without."""
    rng = np.random.default_rng(13)
    halves = (normals(rng, 800, 70).view(np.uint32) >> 16).astype(np.uint16)
    floats, hidden = as_floats(halves), normals(rng, m, 70)
    expected = screened_topk(hidden, floats, NO_BIAS, 2.0, 6)
    found = screened_topk(hidden, halves, NO_BIAS, 2.0, 6)
    candidates = np.tile(np.arange(800, dtype=np.int32), (m, 1))
    every = np.full(m, 800, np.int32)
    among = screened_candidates(hidden, halves, NO_BIAS, 2.0, 6, RowCodes.of(halves), candidates, every)
    for ids, scores in (found, among):
        np.testing.assert_array_equal(ids, expected[0])
        np.testing.assert_allclose(scores, expected[1], rtol=1e-5)
