"""From a query's buckets to distinct candidates, and to those of the best sketches."""

from __future__ import annotations

import numpy as np

from distlsh.kernels._jit import device_function
from distlsh.kernels.index_sketch import LINE, sketch_score
from distlsh.kernels.prefetch import prefetch

_STRIDE = 8
"""Of so many sketches one is looked at to guess how good the best are."""

_LEAST = np.int32(-(2**31))

REMOVED = np.uint8(255)
"""Stamp of a row that was removed: it is never found."""

_AHEAD = 6
"""Buckets asked for before they are read."""

_SKETCHES_AHEAD = 32
"""Sketches asked for before they are compared: about a memory latency's worth."""


@device_function
def _bucket(codes, starts, number):  # type: ignore[no-untyped-def]
    """Return table, first and last place of bucket ``number`` of a query, the best of each table first."""
    n_tables = codes.shape[0]
    table = number % n_tables
    code = codes[table, number // n_tables]
    if code < 0:
        return table, 0, 0
    return table, starts[table, code], starts[table, code + 1]


@device_function
def collect(codes, starts, ids, budget, stamps, stamp, found):  # type: ignore[no-untyped-def]
    """Write the distinct ids of a query's buckets to ``found``, at most ``budget``; return how many."""
    n_tables, n_codes = codes.shape
    n_buckets = starts.shape[1]
    for number in range(n_tables * n_codes):
        code = codes[number % n_tables, number // n_tables]
        if code >= 0:
            prefetch(starts, (number % n_tables) * n_buckets + code)
    n = 0
    for number in range(n_tables * n_codes):
        if number + _AHEAD < n_tables * n_codes:
            table, first, last = _bucket(codes, starts, number + _AHEAD)
            for i in range(first, last, 16):
                prefetch(ids, table * ids.shape[1] + i)
        table, first, last = _bucket(codes, starts, number)
        for i in range(first, last):
            id_ = ids[table, i]
            seen = stamps[id_]
            found[n] = id_
            n += seen != stamp and seen != REMOVED
            if seen != REMOVED:
                stamps[id_] = stamp
        if n >= budget:
            break
    return min(n, budget)


@device_function
def _partition(scores, ids, n, keep):  # type: ignore[no-untyped-def]
    """Bring the ``keep`` largest of ``n`` scores to the front with their ids; return the least of them."""
    low, high = 0, n - 1
    while low < high:
        pivot = scores[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while scores[i] > pivot:
                i += 1
            while scores[j] < pivot:
                j -= 1
            if i <= j:
                scores[i], scores[j] = scores[j], scores[i]
                ids[i], ids[j] = ids[j], ids[i]
                i += 1
                j -= 1
        if keep - 1 <= j:
            high = j
        elif keep - 1 >= i:
            low = i
        else:
            break
    return scores[keep - 1]


@device_function
def _likely_bound(scores, n, keep, best):  # type: ignore[no-untyped-def]
    """Return a score that probably somewhat more than ``keep`` of ``n`` scores are above.

    From every 8th score: so many of these are above it as would be of all, and two
    standard deviations more.
    """
    share = keep / _STRIDE
    rank = min(best.shape[0], int(share + 2.0 * np.sqrt(share)) + 1)
    best[:rank] = _LEAST
    for i in range(0, n, _STRIDE):
        score = scores[i]
        if score > best[rank - 1]:
            place = rank - 1
            while place > 0 and best[place - 1] < score:
                best[place] = best[place - 1]
                place -= 1
            best[place] = score
    return best[rank - 1]


@device_function
def _above(found, scores, n, bound, kept, kept_scores):  # type: ignore[no-untyped-def]
    """Write the ids and scores of those above ``bound``; return how many."""
    m = 0
    for i in range(n):
        # Written always and kept only if good: cheaper than a branch that mispredicts.
        kept[m] = found[i]
        kept_scores[m] = scores[i]
        m += scores[i] > bound
    return m


@device_function
def best_sketches(found, n, sketches, queries, sample, keep, scores, kept, kept_scores):  # type: ignore[no-untyped-def]
    """Write the ``keep`` ids of best sketches, and the scores of these; return how many there are.

    scores, kept, kept_scores: scratch, i4[> n]; ``kept_scores`` also holds the sample's best
    """
    width = sketches.shape[1]
    for i in range(min(n, _SKETCHES_AHEAD)):
        prefetch(sketches, np.int64(found[i]) * width)
    for i in range(n):
        if i + _SKETCHES_AHEAD < n:
            prefetch(sketches, np.int64(found[i + _SKETCHES_AHEAD]) * width)
        scores[i] = sketch_score(sketches, found[i], queries, sample)
    bound = _LEAST
    if n > _STRIDE * _STRIDE and n > 2 * keep:
        bound = _likely_bound(scores, n, keep, kept_scores)
    m = _above(found, scores, n, bound, kept, kept_scores)
    if m < min(keep, n):
        m = _above(found, scores, n, _LEAST, kept, kept_scores)
    if m > keep:
        _partition(kept_scores, kept, m, keep)
        m = keep
    return m


@device_function
def refine(kept, scores, n, details, queries, sample, keep):  # type: ignore[no-untyped-def]
    """Add the scores of second sketches, and bring the ``keep`` best ids to the front; return how many."""
    width = details.shape[1]
    for i in range(n):
        for start in range(0, width, LINE):
            prefetch(details, np.int64(kept[i]) * width + start)
    for i in range(n):
        scores[i] += sketch_score(details, kept[i], queries, sample)
    if n > keep:
        _partition(scores, kept, n, keep)
        n = keep
    return n


@device_function
def insert(best, best_ids, score, id_):  # type: ignore[no-untyped-def]
    """Put ``(score, id_)`` into the descending lists, whose last entry drops out; equals by lower id."""
    place = best.shape[0] - 1
    while place > 0 and (best[place - 1] < score or (best[place - 1] == score and best_ids[place - 1] > id_)):
        best[place] = best[place - 1]
        best_ids[place] = best_ids[place - 1]
        place -= 1
    best[place] = score
    best_ids[place] = id_


@device_function
def next_stamp(stamps):  # type: ignore[no-untyped-def]
    """Return a stamp that no row bears, wiping old ones when they run out; the last place keeps it."""
    last = stamps.shape[0] - 1
    stamp = stamps[last] + np.uint8(1)
    if stamp == REMOVED:
        stamp = np.uint8(1)
        for i in range(last):
            if stamps[i] != REMOVED:
                stamps[i] = 0
    stamps[last] = stamp
    return stamp
