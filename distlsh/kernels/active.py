"""Choose each sample's active outputs from the buckets of its query.

Source: SLIDE (Chen et al. 2019), section 3.1.2 (top-k sampling by count), and
Spring & Shrivastava 2017, section 4.
"""

from __future__ import annotations

import numpy as np

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import (
    I4_1,
    I4_1R,
    I4_2,
    I4_2R,
    I4_3R,
    I8_1,
    I8_1R,
    U1_1,
    U2_1,
    U8_1,
    i8,
    u4,
    void,
)
from distlsh.kernels.prefetch import prefetch
from distlsh.kernels.random import below

CHOSEN = np.uint16(0xFFFF)
"""Count of an id that is already active, so that neither hits nor draws take it again."""

_AHEAD = 12
"""Buckets asked for before they are read: about a memory latency's worth."""

_IDS_A_LINE = 16


@device_function
def _prefetch_bucket(ids, sizes, table, code):  # type: ignore[no-untyped-def]
    """Ask for the ids of one bucket, as many lines as it fills."""
    n_buckets, capacity = ids.shape[1], ids.shape[2]
    if code >= 0:
        place = table * n_buckets + code
        for i in range(0, sizes[table, code], _IDS_A_LINE):
            prefetch(ids, place * capacity + i)


@device_function
def _next_bucket(ids, sizes, codes, number):  # type: ignore[no-untyped-def]
    """Return table and code of a query's bucket ``number``, and ask for the one ``_AHEAD`` of it."""
    n_tables, n_codes = codes.shape
    ahead = number + _AHEAD
    if ahead < n_tables * n_codes:
        _prefetch_bucket(ids, sizes, ahead // n_codes, codes[ahead // n_codes, ahead % n_codes])
    return number // n_codes, codes[number // n_codes, number % n_codes]


@device_function
def take_labels(label_indptr, labels, row, counts, active):  # type: ignore[no-untyped-def]
    """Begin ``active`` with an instance's distinct labels; return how many."""
    at = 0
    for i in range(label_indptr[row], label_indptr[row + 1]):
        label = labels[i]
        if counts[label] != CHOSEN:
            counts[label] = CHOSEN
            active[at] = label
            at += 1
    return at


@device_function
def count_hits(ids, sizes, codes, counts, touched, levels):  # type: ignore[no-untyped-def]
    """Count how many of the query's buckets hold each id; return the distinct ids found.

    ``codes`` i4[n_tables, n_codes]; ``touched`` takes the ids in the order found,
    ``levels[c]`` how many were hit at least c times.
    """
    n_tables, n_codes = codes.shape
    n_buckets = ids.shape[1]
    total = n_tables * n_codes
    for ahead in range(total):
        code = codes[ahead // n_codes, ahead % n_codes]
        if code >= 0:
            prefetch(sizes, (ahead // n_codes) * n_buckets + code)
    for ahead in range(min(_AHEAD, total)):
        _prefetch_bucket(ids, sizes, ahead // n_codes, codes[ahead // n_codes, ahead % n_codes])
    n = 0
    for number in range(total):
        table, code = _next_bucket(ids, sizes, codes, number)
        if code < 0:
            continue
        for i in range(sizes[table, code]):
            # Unsigned: no place counts from the end, which would have to be asked for each id.
            id_ = u4(ids[table, code, i])
            count = counts[id_]
            if count == CHOSEN:
                continue
            # Written always and kept only if new: cheaper than a branch that mispredicts.
            touched[n] = id_
            n += count == 0
            counts[id_] = count + np.uint16(1)
            if count > 0:
                levels[count + 1] += 1
    levels[1] = n
    return n


@device_function
def take_best(counts, touched, n, room, levels, state, active, at):  # type: ignore[no-untyped-def]
    """Append up to ``room`` of the touched ids to ``active`` by descending count; reset the others.

    The ids hit c times start at place ``at + levels[c + 1]``: behind those hit more often.
    Among ids whose count is the last that fits, a random run of those found (cyclic)
    is taken, so that each has the same chance and neither low ids nor old ones win.
    """
    highest = 0
    while levels[highest + 1] > 0:
        highest += 1
    last = highest + 1
    while last > 0 and levels[last] < room:
        last -= 1
    start, n_last, end = 0, 0, 0
    if 0 < last <= highest:
        n_last = levels[last] - levels[last + 1]
        start = below(state, n_last)
        end = start + room - levels[last + 1]
    n_ties = 0
    for i in range(n):
        id_ = u4(touched[i])
        level = np.int64(counts[id_])
        taken = bool(level > last)
        if level == last:
            # The two runs of a cyclic one.
            taken = (start <= n_ties < end) | (n_ties < end - n_last)
            n_ties += 1
        counts[id_] = CHOSEN if taken else np.uint16(0)
        if taken:
            active[at + levels[level + 1]] = id_
            levels[level + 1] += 1
    levels[: highest + 2] = 0
    return at + min(n, room)


@device_function
def take_random(counts, n_labels, end, state, active, at):  # type: ignore[no-untyped-def]
    """Append distinct ids drawn uniformly from those not yet active, until ``end`` places are filled."""
    end = min(end, n_labels)
    while at < end:
        id_ = below(state, n_labels)
        if counts[id_] != CHOSEN:
            counts[id_] = CHOSEN
            active[at] = id_
            at += 1
    return at


@kernel(void(I4_3R, I4_2R, I4_3R, I8_1R, I4_1R, I8_1R, i8, i8, i8, U8_1, U2_1, I4_1, I8_1, I4_2, I4_2))
def select_active(  # type: ignore[no-untyped-def]
    ids,
    sizes,
    codes,
    label_indptr,
    labels,
    rows,
    n_labels,
    n_active,
    n_random,
    seeds,
    counts,
    touched,
    levels,
    active,
    bounds,
):
    """Choose the active outputs of each sample: its labels, then retrieved ones, then random ones.

    ids, sizes    one table buffer, i4[n_tables, n_buckets, bucket_size] and i4[n_tables, n_buckets]
    codes         i4[m, n_tables, n_codes], the samples' buckets; below 0: none
    label_indptr  i8[n + 1], labels i4[]: the instances' labels
    rows          i8[m], the samples' instances
    n_labels      outputs in all
    n_active      outputs wanted a sample; more only where an instance has more labels
    n_random      of these, random ones at least
    seeds         u8[m], the samples' random states, advanced
    counts        u2[n_labels], scratch, zeros before and after
    touched       i4[hits a query can have + 1], scratch
    levels        i8[buckets a query reads + 3], scratch, zeros before and after
    active        i4[m, >= max(n_active, labels of an instance)], written, distinct ids
    bounds        i4[m, 3], written: [0, b0) are labels, [b0, b1) retrieved, [b1, b2) random

    Concurrency: one generation of the tables must be held; scratch is one thread's own.
    Allocates: nothing.  Cost: O(hits + n_active) a sample, bound by the buckets' cache misses.
    Unchecked: ranges of rows, labels, codes and ids.  Source: SLIDE, section 3.1.2.
    """
    for sample in range(rows.shape[0]):
        chosen = active[sample]
        state = seeds[sample : sample + 1]
        at = take_labels(label_indptr, labels, rows[sample], counts, chosen)
        bounds[sample, 0] = at
        n = count_hits(ids, sizes, codes[sample], counts, touched, levels)
        room = max(0, n_active - n_random - at)
        at = take_best(counts, touched, n, room, levels, state, chosen, at)
        bounds[sample, 1] = at
        at = take_random(counts, n_labels, n_active, state, chosen, at)
        bounds[sample, 2] = at
        for i in range(at):
            counts[chosen[i]] = np.uint16(0)


@kernel(i8(I4_2R, I4_3R))
def most_hits(sizes, codes):  # type: ignore[no-untyped-def]
    """Return the most ids, repeated ones counted, that one query's buckets hold.

    sizes  i4[n_tables, n_buckets]
    codes  i4[m, n_tables, n_codes]; below 0: none

    Concurrency: one generation of the tables must be held.  Allocates: nothing.
    Cost: O(codes).  Unchecked: range of codes.
    """
    most = 0
    for sample in range(codes.shape[0]):
        hits = 0
        for table in range(codes.shape[1]):
            for probe in range(codes.shape[2]):
                code = codes[sample, table, probe]
                if code >= 0:
                    hits += sizes[table, code]
        most = max(most, hits)
    return most


@kernel(void(I4_3R, I4_2R, I4_3R, U1_1, I4_2, I4_1))
def retrieve_rows(ids, sizes, codes, marks, out, found):  # type: ignore[no-untyped-def]
    """Write the distinct ids in each query's buckets, in the order found.

    ids, sizes  one table buffer
    codes       i4[m, n_tables, n_codes]; below 0: none
    marks       u1[n_labels], scratch, zeros before and after
    out         i4[m, >= min(hits of a query, n_labels)], written in places [0, found)
    found       i4[m], written

    Concurrency: one generation of the tables must be held; scratch is one thread's own.
    Allocates: nothing.  Cost: O(hits) a query.  Unchecked: ranges of codes and ids.
    """
    n_tables, n_codes = codes.shape[1], codes.shape[2]
    for sample in range(codes.shape[0]):
        query = codes[sample]
        n = 0
        for number in range(n_tables * n_codes):
            table, code = _next_bucket(ids, sizes, query, number)
            if code < 0:
                continue
            for i in range(sizes[table, code]):
                id_ = u4(ids[table, code, i])
                if marks[id_] == 0:
                    marks[id_] = 1
                    out[sample, n] = id_
                    n += 1
        found[sample] = n
        for i in range(n):
            marks[out[sample, i]] = 0
