"""Ranking metrics: by hand, against slow references, and their merging."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from distlsh.constants import TOP_K
from distlsh.evaluation.propensity import inv_propensity
from distlsh.evaluation.ranking import ranking_sums
from distlsh.evaluation.sums import EvalSums, LshSums, RankingSums, to_evaluation

FIELDS = {"kind": "subset", "epoch": 0, "samples": 0, "train_s": 0.0, "eval_s": 0.0}


def csr(label_lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return ``label_indptr`` and ``labels`` of rows of labels."""
    indptr = np.cumsum([0, *map(len, label_lists)]).astype(np.int64)
    return indptr, np.array([label for row in label_lists for label in row], np.int32)


def sums_of(ids: list[list[int]], true: list[list[int]], inverse: list[float]) -> RankingSums:
    indptr, labels = csr(true)
    rows = np.arange(len(true), dtype=np.int64)
    return ranking_sums(np.array(ids, np.int32), rows, indptr, labels, np.array(inverse, np.float32))


def test_metrics_by_hand() -> None:
    """Two rows, worked out on paper."""
    ids = [[2, 0, 1, 4, 3], [5, 1, 0, 2, 3]]
    true = [[0, 1, 5], [5]]
    inverse = [2.0, 3.0, 1.0, 1.0, 1.0, 4.0]
    sums = sums_of(ids, true, inverse)
    assert sums.hits == [1, 2, 3, 3, 3]
    second, third = 1 / math.log2(3), 1 / 2
    ideal = 1 + second + third
    np.testing.assert_allclose(sums.ndcg[0], 0 + 1)
    np.testing.assert_allclose(sums.ndcg[2], (second + third) / ideal + 1)
    np.testing.assert_allclose(sums.ndcg[4], (second + third) / ideal + 1)
    assert sums.psp == [4, 2 + 4, 5 + 4, 5 + 4, 5 + 4]
    assert sums.psp_best == [4 + 4, 7 + 4, 9 + 4, 9 + 4, 9 + 4]
    evaluation = to_evaluation(EvalSums(2, sums), **FIELDS)
    assert evaluation.p_at_1 == 0.5
    assert evaluation.p_at_3 == 3 / 6
    assert evaluation.p_at_5 == 3 / 10
    assert evaluation.psp_at_1 == 4 / 8
    assert evaluation.psp_at_3 == 9 / 13
    assert evaluation.lsh_p_at_1 is None


def test_unused_places_and_few_labels() -> None:
    """Places of -1 are misses, also where fewer than five labels exist."""
    sums = sums_of([[1, -1, -1, -1, -1]], [[1]], [1.0, 1.0])
    assert sums.hits == [1.0] * TOP_K
    assert sums.ndcg == [1.0] * TOP_K


def slow_sums(ids: list[list[int]], true: list[list[int]], inverse: list[float]) -> dict[str, list[float]]:
    """Compute the same sums from the definitions, one k at a time."""
    out: dict[str, list[float]] = {"hits": [], "ndcg": [], "psp": [], "psp_best": []}
    for k in range(1, TOP_K + 1):
        pairs = [(row[:k], set(labels)) for row, labels in zip(ids, true, strict=True)]
        out["hits"].append(sum(len(set(top) & labels) for top, labels in pairs))
        out["psp"].append(sum(inverse[label] for top, labels in pairs for label in top if label in labels))
        out["psp_best"].append(
            sum(sum(sorted((inverse[label] for label in labels), reverse=True)[:k]) for _, labels in pairs)
        )
        out["ndcg"].append(
            sum(
                sum(1 / math.log2(j + 2) for j, label in enumerate(top) if label in labels)
                / sum(1 / math.log2(j + 2) for j in range(min(k, len(labels))))
                for top, labels in pairs
            )
        )
    return out


@st.composite
def rankings(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]], list[float]]:
    n_labels = draw(st.integers(TOP_K, 12))
    labels = st.integers(0, n_labels - 1)
    m = draw(st.integers(1, 6))
    ids = [draw(st.permutations(range(n_labels)))[:TOP_K] for _ in range(m)]
    true = [draw(st.lists(labels, min_size=1, max_size=n_labels, unique=True)) for _ in range(m)]
    inverse = draw(st.lists(st.floats(1.0, 50.0, width=32), min_size=n_labels, max_size=n_labels))
    return ids, true, inverse


@settings(max_examples=80, deadline=None)
@given(rankings())
def test_sums_equal_the_definitions(case: tuple[list[list[int]], list[list[int]], list[float]]) -> None:
    """The kernel gives what the definitions, written out, give."""
    sums = sums_of(*case)
    for name, expected in slow_sums(*case).items():
        np.testing.assert_allclose(getattr(sums, name), expected, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(rankings())
def test_ndcg_equals_scikit_learn(case: tuple[list[list[int]], list[list[int]], list[float]]) -> None:
    """nDCG@5 is scikit-learn's, for scores that rank as ``ids`` do."""
    ids, true, inverse = case
    relevance = np.zeros((len(ids), len(inverse)))
    scores = np.zeros_like(relevance)
    for i, (row, labels) in enumerate(zip(ids, true, strict=True)):
        relevance[i, labels] = 1
        scores[i, row] = np.arange(TOP_K, 0, -1)
    sums = sums_of(*case)
    np.testing.assert_allclose(sums.ndcg[4] / len(ids), ndcg_score(relevance, scores, k=5), rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(rankings(), st.data())
def test_parts_add_up_to_the_whole(
    case: tuple[list[list[int]], list[list[int]], list[float]], data: st.DataObject
) -> None:
    """Sums of two parts of the rows, sent as messages and added, equal the sums of all."""
    ids, true, inverse = case
    cut = data.draw(st.integers(0, len(ids)))
    parts = []
    for some in (slice(0, cut), slice(cut, None)):
        ranking = sums_of(ids[some], true[some], inverse) if ids[some] else RankingSums()
        lsh = LshSums(ranking, top_1=len(ids[some]), top_1_found=1, retrieved=3, macs=5)
        message = msgspec.msgpack.encode(EvalSums(len(ids[some]), ranking, 7, lsh))
        parts.append(msgspec.msgpack.decode(message, type=EvalSums))
    total, whole = parts[0] + parts[1], sums_of(*case)
    np.testing.assert_allclose(total.exact.ndcg, whole.ndcg)
    assert total.exact.hits == whole.hits
    assert total.n_rows == len(ids)
    assert total.lsh is not None
    assert (total.lsh.top_1, total.lsh.top_1_found, total.lsh.retrieved, total.lsh.macs) == (
        len(ids),
        2,
        6,
        10,
    )
    assert total.macs == 14


def test_an_evaluation_of_nothing_is_zero() -> None:
    """No rows: zeros, no division by zero."""
    evaluation = to_evaluation(EvalSums(lsh=LshSums()), **FIELDS)
    assert evaluation.p_at_5 == evaluation.psp_at_1 == evaluation.table_recall_at_10 == 0.0


def test_lsh_fields_by_hand() -> None:
    """Recall counts places of the exact top; the share of multiply-adds is of exact inference."""
    ranking = RankingSums(hits=[1.0] * 5, ndcg=[1.0] * 5, psp=[1.0] * 5, psp_best=[2.0] * 5)
    lsh = LshSums(ranking, top_1=2, top_1_found=1, top_10=20, top_10_found=5, retrieved=60, macs=30)
    evaluation = to_evaluation(EvalSums(2, ranking, 120, lsh), **FIELDS)
    assert evaluation.table_recall_at_1 == 0.5
    assert evaluation.table_recall_at_10 == 0.25
    assert evaluation.retrieved_mean == 30
    assert evaluation.lsh_mac_fraction == 0.25
    assert evaluation.lsh_psp_at_5 == 0.5


def test_inverse_propensity_by_hand() -> None:
    """The formula of Jain et al. 2016 with n = e^3, A = 1, B = 1: C = 4."""
    n = round(math.e**3)
    c = (math.log(n) - 1) * 2
    np.testing.assert_allclose(
        inv_propensity(np.array([0, 1, 3]), n, 1.0, 1.0), [1 + c, 1 + c / 2, 1 + c / 4]
    )


@pytest.mark.parametrize("n", [0, 1, 2])
def test_inverse_propensity_of_tiny_sets_is_one(n: int) -> None:
    """Below e instances no label is likelier than certain."""
    np.testing.assert_array_equal(inv_propensity(np.array([0, 1]), n, 0.55, 1.5), [1, 1])
