"""Running top-k: a block of scores, or a list of candidates, into each row's k best."""

from __future__ import annotations

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import F4_1R, F4_2, F4_2R, I4_1R, I4_2, I4_2R, f4, i4, i8, void
from distlsh.kernels.stored_rows import stored_kernel, value_at

LANES = 64
"""Scores compared with the running k-th best at once; four AVX-512 vectors."""


@device_function
def _any_above(lanes, bound):  # type: ignore[no-untyped-def]
    """Tell whether one of ``LANES`` scores is above ``bound``.

    Counts in f4 over a fixed range: of the ways tried, what the compiler vectorises.
    """
    hits = f4(0.0)
    for j in range(LANES):
        hits += f4(1.0) if lanes[j] > bound else f4(0.0)
    return hits > f4(0.0)


@device_function
def insert_best(best, best_ids, score, label):  # type: ignore[no-untyped-def]
    """Put ``(score, label)`` into the descending lists, whose last entry drops out.

    Equal scores are ordered by lower label.
    """
    place = best.shape[0] - 1
    while place > 0 and (
        best[place - 1] < score or (best[place - 1] == score and best_ids[place - 1] > label)
    ):
        best[place] = best[place - 1]
        best_ids[place] = best_ids[place - 1]
        place -= 1
    best[place] = score
    best_ids[place] = label


@kernel(void(F4_2, F4_1R, i8, I4_2, F4_2))
def merge_topk(block, bias, first, ids, scores):  # type: ignore[no-untyped-def]
    """Merge the scores of consecutive labels into each row's running top-k.

    block   f4[m, b], scores of labels ``first .. first + b``; the bias is added in place
    bias    f4[b], or f4[0] for none
    first   label of the first column; calls go upwards, so that of equal scores the lower label stays
    ids     i4[m, k], best first, -1 in unused places; updated
    scores  f4[m, k], descending, -inf in unused places; updated

    A NaN score is never taken.
    Concurrency: rows are independent.  Allocates: nothing.  Cost: one vectorised
    compare a score, and O(k) for each of the about k * ln(n / k) scores that enter.
    Unchecked: widths of ``bias`` and ``block``; k >= 1.
    """
    width = block.shape[1]
    whole = width - width % LANES
    last = ids.shape[1] - 1
    for i in range(block.shape[0]):
        row = block[i]
        for j in range(bias.shape[0]):
            row[j] += bias[j]
        best = scores[i]
        best_ids = ids[i]
        bound = best[last]
        for start in range(0, whole, LANES):
            if _any_above(row[start : start + LANES], bound):
                for j in range(start, start + LANES):
                    if row[j] > bound:
                        insert_best(best, best_ids, row[j], i4(first + j))
                        bound = best[last]
        for j in range(whole, width):
            if row[j] > bound:
                insert_best(best, best_ids, row[j], i4(first + j))
                bound = best[last]


@stored_kernel(1, void(F4_2R, F4_2R, F4_1R, f4, I4_2R, I4_1R, I4_2, F4_2))
def candidate_topk(hidden, weights, bias, scale, candidates, counts, ids, scores):  # type: ignore[no-untyped-def]
    """Score each row's candidates and keep the k best.

    hidden      f4[m, d]
    weights     f4 or u2[n, d] (`stored_rows`), may be written by others meanwhile
    bias        f4[n], or f4[0] for none
    scale       of the dot products
    candidates  i4[m, c], distinct labels in [0, n) at places [0, counts[i])
    counts      i4[m]
    ids         i4[m, k], written: best first, equal scores by lower label, -1 beyond the candidates
    scores      f4[m, k], written: -inf beyond the candidates

    A NaN score is never taken.
    Concurrency: rows are independent.  Allocates: nothing.  Cost: O(sum(counts) * d).
    Unchecked: label range, counts; k >= 1.
    """
    last = ids.shape[1] - 1
    for i in range(hidden.shape[0]):
        best = scores[i]
        best_ids = ids[i]
        query = hidden[i]
        best[:] = f4(-float("inf"))
        best_ids[:] = i4(-1)
        for place in range(counts[i]):
            label = candidates[i, place]
            dot = f4(0.0)
            for j in range(query.shape[0]):
                dot += query[j] * value_at(weights, label, j)
            score = f4(scale * dot)
            if bias.shape[0] > 0:
                score += bias[label]
            if score > best[last] or (score == best[last] and label < best_ids[last]):
                insert_best(best, best_ids, score, label)


@kernel(void(I4_2R, I4_2R, I4_1R, I4_2))
def mark_found(ids, candidates, counts, found):  # type: ignore[no-untyped-def]
    """Mark which of a row's ``ids`` are among its candidates.

    ids         i4[m, k], -1 in unused places
    candidates  i4[m, c], at places [0, counts[i])
    counts      i4[m]
    found       i4[m, k], written: 1 found, 0 not found, -1 unused place

    Concurrency: rows are independent.  Allocates: nothing.  Cost: O(k * sum(counts)).
    """
    for i in range(ids.shape[0]):
        row = candidates[i]
        for j in range(ids.shape[1]):
            label = ids[i, j]
            hits = 0
            for place in range(counts[i]):
                hits += 1 if row[place] == label else 0
            found[i, j] = -1 if label < 0 else (1 if hits > 0 else 0)
