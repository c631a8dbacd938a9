"""Sums of the ranking metrics over rows, from ranked ids and true labels."""

from __future__ import annotations

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import F4_1R, F8_1, F8_1R, F8_2, I4_1R, I4_2R, I8_1R, void

HITS, NDCG, PSP, PSP_BEST = range(4)
"""Rows of the array of sums."""


@device_function
def _is_label(labels, label):  # type: ignore[no-untyped-def]
    """Tell whether ``label`` is in ``labels``; -1 never is."""
    found = False
    for true in labels:
        found |= true == label
    return found


@device_function
def _add_best(labels, inv_propensity, best, sums):  # type: ignore[no-untyped-def]
    """Add the cumulated largest inverse propensities of ``labels``: the best attainable PSP."""
    k = best.shape[0]
    best[:] = 0.0
    for label in labels:
        gain = inv_propensity[label]
        if gain > best[k - 1]:
            place = k - 1
            while place > 0 and best[place - 1] < gain:
                best[place] = best[place - 1]
                place -= 1
            best[place] = gain
    total = 0.0
    for j in range(k):
        total += best[j]
        sums[PSP_BEST, j] += total


@kernel(void(I4_2R, I8_1R, I8_1R, I4_1R, F4_1R, F8_1R, F8_2, F8_1))
def add_ranking_sums(ids, rows, label_indptr, labels, inv_propensity, discounts, sums, scratch):  # type: ignore[no-untyped-def]
    """Add the metric sums of ranked rows; place j of each sum is for k = j + 1.

    ids             i4[m, >= k], best first, distinct in a row, -1 in unused places
    rows            i8[m], the instances ranked, each with at least one label
    label_indptr    i8[n + 1]
    labels          i4[...], distinct in an instance
    inv_propensity  f4[n_labels], each > 0
    discounts       f8[k], of nDCG: 1 / log2(place + 2)
    sums            f8[4, k], added to: hits among the first j + 1 ids; nDCG@j+1; sum of
                    inverse propensities of the hits; the largest such sum attainable
    scratch         f8[k], overwritten

    Concurrency: ``sums`` belongs to the caller.  Allocates: nothing.
    Cost: O(m * (k + labels of a row) * k).
    Unchecked: ranges of rows and labels.
    Source: the metrics page of the Extreme Classification Repository (Bhatia et al. 2016).
    """
    k = discounts.shape[0]
    for i in range(ids.shape[0]):
        row = rows[i]
        true = labels[label_indptr[row] : label_indptr[row + 1]]
        hits = 0.0
        gain = 0.0
        ideal = 0.0
        psp = 0.0
        for j in range(k):
            label = ids[i, j]
            if _is_label(true, label):
                hits += 1.0
                gain += discounts[j]
                psp += inv_propensity[label]
            if j < true.shape[0]:
                ideal += discounts[j]
            sums[HITS, j] += hits
            sums[NDCG, j] += gain / ideal
            sums[PSP, j] += psp
        _add_best(true, inv_propensity, scratch, sums)
