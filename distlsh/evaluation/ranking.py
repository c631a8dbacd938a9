"""Metric sums of ranked labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import TOP_K
from distlsh.data.dataset import Dataset
from distlsh.evaluation.sums import RankingSums
from distlsh.kernels.metrics import add_ranking_sums

_DISCOUNTS = 1.0 / np.log2(np.arange(2, TOP_K + 2))


def labelled_rows(dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of ``rows`` i8[m] that have labels: the ones that metrics count."""
    rows = np.ascontiguousarray(rows, np.int64)
    return rows[dataset.label_indptr[rows + 1] > dataset.label_indptr[rows]]


def ranking_sums(
    ids: NDArray[np.int32],
    rows: NDArray[np.int64],
    label_indptr: NDArray[np.int64],
    labels: NDArray[np.int32],
    inv_propensity: NDArray[np.float32],
) -> RankingSums:
    """Return the sums over ``rows`` of the ranking metrics for k = 1 .. 5.

    ids             i4[m, >= 5], best first, -1 in unused places
    rows            i8[m], instances with at least one label each
    label_indptr    i8[n + 1], of the whole data set, as are
    labels          i4[...]
    inv_propensity  f4[n_labels]
    """
    sums, scratch = np.zeros((4, TOP_K)), np.empty(TOP_K)
    add_ranking_sums(ids, rows, label_indptr, labels, inv_propensity, _DISCOUNTS, sums, scratch)
    return RankingSums(*sums.tolist())
