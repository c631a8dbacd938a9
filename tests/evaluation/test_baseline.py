"""The popularity baseline."""

from __future__ import annotations

import numpy as np

from distlsh.data.dataset import Dataset
from distlsh.evaluation.baseline import popularity_baseline


def dataset(labels: list[list[int]], n_labels: int) -> Dataset:
    return Dataset.from_csr(np.ones((len(labels), 2), np.float32), labels, n_labels=n_labels)


def test_baseline_by_hand() -> None:
    """Label 2 twice, then 0 and 1 once each; the row without labels does not count."""
    train = dataset([[2], [2, 0], [1]], 4)
    test = dataset([[2, 1], [3], [], [0, 1]], 4)
    assert popularity_baseline(train, test) == (1 / 3, 4 / 9, 5 / 15)


def test_nothing_to_test_on() -> None:
    """A test set without labels gives zeros."""
    assert popularity_baseline(dataset([[0]], 1), dataset([[]], 1)) == (0.0, 0.0, 0.0)
