"""What a model must beat: always predicting the most frequent labels."""

from __future__ import annotations

import numpy as np

from distlsh.constants import TOP_K
from distlsh.data.dataset import Dataset
from distlsh.evaluation.ranking import labelled_rows, ranking_sums


def popularity_baseline(train: Dataset, test: Dataset) -> tuple[float, float, float]:
    """Return P@1, P@3 and P@5 on ``test`` of the labels most frequent in ``train``.

    Equally frequent labels are ordered by number; rows of ``test`` without labels do not count.
    """
    rows = labelled_rows(test, np.arange(test.n_rows, dtype=np.int64))
    if not len(rows):
        return 0.0, 0.0, 0.0
    top = np.argsort(-train.label_counts(), kind="stable")[:TOP_K]
    one = np.full(TOP_K, -1, np.int32)
    one[: len(top)] = top
    ids = np.ascontiguousarray(np.broadcast_to(one, (len(rows), TOP_K)))
    ones = np.ones(max(train.n_labels, test.n_labels), np.float32)
    hits = ranking_sums(ids, rows, test.label_indptr, test.labels, ones).hits
    p_at_1, p_at_3, p_at_5 = (hits[k - 1] / (k * len(rows)) for k in (1, 3, 5))
    return p_at_1, p_at_3, p_at_5
