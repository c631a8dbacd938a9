from __future__ import annotations

import numpy as np
import pytest
from comparison.scoring import precision, precision_of_files


def test_precision_counts_hits_of_rows_with_labels():
    """P@k is hits among the first k over k, averaged over the rows that have labels."""
    ids = np.array([[3, 1, 2, 8, 9], [0, 7, 5, 6, 4], [1, 2, 3, 4, 5]], np.int32)
    indptr, labels = np.array([0, 2, 2, 3]), np.array([2, 3, 5])
    found = precision(ids, indptr, labels)
    assert found["scored_rows"] == 2
    assert found["p_at_1"] == pytest.approx(1 / 2)
    assert found["p_at_3"] == pytest.approx(2 / 3 / 2)
    assert found["p_at_5"] == pytest.approx((2 / 5 + 1 / 5) / 2)


def test_precision_ignores_unused_places_and_repeats():
    """A place of -1 is no hit, and a label named twice hits once."""
    ids = np.array([[4, 4, 4, -1, -1]], np.int32)
    found = precision(ids, np.array([0, 1]), np.array([4]))
    assert found["p_at_5"] == pytest.approx(1 / 5)


def test_precision_takes_the_first_rows_only():
    """Predictions of the first m rows are scored on these, as the points of a curve are."""
    ids = np.array([[1, 0, 2, 3, 4]], np.int32)
    found = precision(ids, np.array([0, 1, 2]), np.array([1, 9]))
    assert (found["p_at_1"], found["scored_rows"]) == (1.0, 1)


def test_precision_agrees_with_the_evaluation_of_distlsh(rng):
    """The comparison's P@k is the one that distlsh reports."""
    from distlsh.evaluation.ranking import ranking_sums

    ids = np.array([rng.permutation(30)[:5] for _ in range(50)], np.int32)
    rows = [np.sort(rng.permutation(30)[: 1 + i % 4]) for i in range(50)]
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    labels = np.concatenate(rows).astype(np.int32)
    found = precision(ids, indptr, labels)
    sums = ranking_sums(ids, np.arange(50), indptr, labels, np.ones(30, np.float32))
    assert [found[f"p_at_{k}"] for k in (1, 3, 5)] == pytest.approx(
        [sums.hits[k - 1] / k / 50 for k in (1, 3, 5)]
    )


def test_precision_of_rows_without_labels_is_zero():
    """Data without a label gives 0 of 0 rows, not a division by zero."""
    found = precision(np.zeros((2, 5), np.int32), np.array([0, 0, 0]), np.empty(0, np.int64))
    assert (found["p_at_1"], found["scored_rows"]) == (0.0, 0)


def test_precision_of_files_reads_a_stem(tmp_path):
    """Predictions in a file are scored against the arrays of a stem."""
    np.save(tmp_path / "p.npy", np.array([[6, 1, 2, 3, 4]], np.int32))
    np.save(tmp_path / "rows.label_indptr.npy", np.array([0, 1]))
    np.save(tmp_path / "rows.labels.npy", np.array([6]))
    assert precision_of_files(tmp_path / "p.npy", str(tmp_path / "rows"))["p_at_1"] == 1.0
