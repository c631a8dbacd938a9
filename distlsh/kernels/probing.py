"""Choose the buckets beside a query's own that most likely hold its neighbours.

A code is a sum of parts, one of each hash; a hash offers its own value and others at a
cost, and a bucket's score is the sum of the costs of its values.  Query-directed probing
takes as cost the squared distance by which the hash would have had to differ, step-wise
probing the number of steps away; the best scores come first.

Source: Lv et al. 2007, "Multi-probe LSH", sections 4.2 (step-wise) and 4.4 (query-directed).
"""

from __future__ import annotations

import numpy as np

from distlsh.constants import EMPTY
from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import F4_1, F4_3, I4_3, i8, void
from distlsh.kernels.sorting import nth_smallest

NO_COST = np.float32(np.inf)
"""Marks an alternative that does not exist."""


@device_function
def _insert(total, code, totals, codes, n, limit):  # type: ignore[no-untyped-def]
    """Put ``code`` into the ``n`` kept ones by ascending total, equals behind; return the new n."""
    if n == limit:
        if total >= totals[n - 1]:
            return n
        n -= 1
    at = n
    while at > 0 and totals[at - 1] > total:
        totals[at] = totals[at - 1]
        codes[at] = codes[at - 1]
        at -= 1
    totals[at] = total
    codes[at] = code
    return n + 1


@device_function
def best_sums(costs, parts, totals, sums):  # type: ignore[no-untyped-def]
    """Find the sums of parts of least total cost, one part a hash; return how many, and their row.

    costs   f4[n_hashes, n_choices], ascending a hash, the first 0, then NO_COST where absent
    parts   u8[n_hashes, n_choices]
    totals  f4[2, n], sums u8[2, n]: scratch; in the row returned, the best ascending, the first
            choice of every hash at place 0

    A pair (i-th best of the hashes so far, j-th choice of the next) can only be among
    the n best if (i + 1) * (j + 1) <= n, so a hash costs about n * log(n) tries.  Of equal
    totals, that in which an earlier hash differs comes first.
    """
    limit = totals.shape[1]
    n_choices = costs.shape[1]
    old, new = 0, 1
    n = 0
    while n < min(limit, n_choices) and (n == 0 or costs[0, n] != NO_COST):
        totals[old, n] = costs[0, n]
        sums[old, n] = parts[0, n]
        n += 1
    for k in range(1, costs.shape[0]):
        kept = 0
        for j in range(min(n_choices, limit)):
            cost = costs[k, j]
            if cost == NO_COST:
                break
            for i in range(min(n, limit // (j + 1))):
                total = totals[old, i] + cost
                if kept == limit and total >= totals[new, limit - 1]:
                    break  # totals ascend: the rest is no better
                kept = _insert(total, sums[old, i] + parts[k, j], totals[new], sums[new], kept, limit)
        n = kept
        old, new = new, old
    return n, old


@device_function
def write_codes(totals, sums, n, out, scores):  # type: ignore[no-untyped-def]
    """Write the first ``n`` sums as codes with their scores; EMPTY and infinity where there are no more.

    totals  f4[c], sums u8[c], out i4[c], scores f4[c]
    """
    for i in range(out.shape[0]):
        out[i] = np.int32(sums[i]) if i < n else EMPTY
        scores[i] = totals[i] if i < n else NO_COST


@device_function
def write_distinct(totals, sums, n, shift, out, scores):  # type: ignore[no-untyped-def]
    """Write the codes ``sums >> shift`` with their scores as `write_codes` does, each code once, at its best.

    totals  f4[>= n], sums u8[>= n], ascending; out i4[c], scores f4[c]
    """
    kept = 0
    for i in range(n):
        if kept == out.shape[0]:
            break
        code = np.int32(sums[i] >> shift)
        new = True
        for j in range(kept):
            new = new and out[j] != code
        if new:
            out[kept] = code
            scores[kept] = totals[i]
            kept += 1
    out[kept:] = EMPTY
    scores[kept:] = NO_COST


@device_function
def best_codes(costs, parts, totals, sums, out, scores):  # type: ignore[no-untyped-def]
    """Write the codes of least total cost to ``out`` i4[n] with their ``scores`` f4[n]; see `best_sums`."""
    n, row = best_sums(costs, parts, totals, sums)
    write_codes(totals[row], sums[row], n, out, scores)


@device_function
def best_flips(margins, totals, codes, out, scores):  # type: ignore[no-untyped-def]
    """Write a binary code and those that flip the bits of least squared margin to ``out``.

    margins  f4[n_bits], signed distances to the hyperplanes; bit k, from the highest, is ``margins[k] > 0``
    totals   f4[3, n], codes i4[3, n]: scratch
    out      i4[n], n <= 2**n_bits: ``out[0]`` is the code itself
    scores   f4[n], written: the summed squared margins

    The bit of (j+1)-th least margin first occurs as the (j+1)-th best flip, so only
    n - 1 bits matter.
    """
    limit = out.shape[0]
    n_bits = margins.shape[0]
    code = 0
    n_flips = 0
    for k in range(n_bits):
        code = code * 2 + (1 if margins[k] > 0.0 else 0)
        mask = 1 << (n_bits - 1 - k)
        if limit > 1:
            n_flips = _insert(margins[k] * margins[k], mask, totals[2], codes[2], n_flips, limit - 1)
    totals[0, 0] = 0.0
    codes[0, 0] = 0
    n = 1
    for k in range(n_flips):
        old, new = k & 1, 1 - (k & 1)
        cost = totals[2, k]
        kept = 0
        for i in range(n):
            kept = _insert(totals[old, i], codes[old, i], totals[new], codes[new], kept, limit)
        for i in range(min(n, limit // 2)):
            mask = codes[old, i] ^ codes[2, k]
            kept = _insert(totals[old, i] + cost, mask, totals[new], codes[new], kept, limit)
        n = kept
    last = n_flips & 1
    for i in range(limit):
        out[i] = code ^ codes[last, i] if i < n else EMPTY
        scores[i] = totals[last, i] if i < n else NO_COST


@device_function
def _table_means(scores, means):  # type: ignore[no-untyped-def]
    """Write the mean of each table's scores that are not infinite to ``means``."""
    for table in range(scores.shape[0]):
        total, n = np.float32(0.0), 0
        for i in range(scores.shape[1]):
            if scores[table, i] < NO_COST:
                total += scores[table, i]
                n += 1
        means[table] = total / np.float32(max(n, 1))


@kernel(void(I4_3, F4_3, i8, F4_1), fastmath=False)
def keep_best(probes, scores, n_kept, scratch):  # type: ignore[no-untyped-def]
    """Keep, of each query's probes in all tables, the first of each table and the ``n_kept`` best others.

    probes   i4[m, n_tables, n_codes], ascending by score in a table; dropped ones become EMPTY
    scores   f4[m, n_tables, n_codes]; of dropped ones they become infinite
    n_kept   0 or more
    scratch  f4[n_tables * n_codes]

    A score says how much less likely a bucket is than the query's own; but where many buckets have
    low scores, the own one is unlikely too.  So scores are compared less their table's mean.
    Of equals the lower table's is kept; used places come first, as a table's scores ascend.

    Concurrency: arrays are one thread's own.  Allocates: nothing.  Cost: O(n_tables * n_codes) a query.
    Unchecked: shapes.  Source: Lv et al. 2007, section 4.4, over all tables instead of in each; the mean
    stands for the logarithm of the sum of the listed buckets' likelihoods, to first order.
    """
    m, n_tables, n_codes = probes.shape
    means = scratch[n_tables * (n_codes - 1) :]
    for query in range(m):
        _table_means(scores[query], means)
        n = 0
        for table in range(n_tables):
            for i in range(1, n_codes):
                if scores[query, table, i] < NO_COST:
                    scratch[n] = scores[query, table, i] - means[table]
                    n += 1
        if n <= n_kept:
            continue
        bound = nth_smallest(scratch, n, n_kept) if n_kept > 0 else -NO_COST
        equals = n_kept
        for i in range(n):
            if scratch[i] < bound:
                equals -= 1
        for table in range(n_tables):
            for i in range(1, n_codes):
                score = scores[query, table, i] - means[table]
                if score == bound and equals > 0:
                    equals -= 1
                elif not score < bound:
                    probes[query, table, i] = EMPTY
                    scores[query, table, i] = NO_COST
