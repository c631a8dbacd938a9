"""Other ways to choose a sample's active outputs than by count alone: vanilla, by threshold, by score.

Source: SLIDE (Chen et al. 2019), section 3.1.2, for vanilla and threshold sampling.
"""

from __future__ import annotations

import numpy as np

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import (
    F4_2R,
    I4_1,
    I4_1R,
    I4_2,
    I4_2R,
    I4_3R,
    I8_1,
    I8_1R,
    U2_1,
    U8_1,
    U8_2,
    i4,
    i8,
    u4,
    u8,
    void,
)
from distlsh.kernels.active import CHOSEN, count_hits, take_best, take_labels, take_random
from distlsh.kernels.random import below
from distlsh.kernels.sketch import bits_of, estimate, prefetch_sketch

U8_2R = U8_2.copy(readonly=True)
_AHEAD = 12
"""Sketches asked for before they are read: about a memory latency's worth."""


@device_function
def _shuffle(order, state):  # type: ignore[no-untyped-def]
    """Fill ``order`` with a random permutation of its places."""
    for i in range(order.shape[0]):
        at = below(state, i + 1)
        order[i] = order[at]
        order[at] = i


@device_function
def _take_tables(ids, sizes, codes, counts, order, room, state, active, at):  # type: ignore[no-untyped-def]
    """Append the ids of the query's buckets, table after table, until ``room`` more are taken.

    Each table's own bucket first, then the next best of each.  Of a bucket that does not
    fit whole, a random run (cyclic) is taken.
    """
    _shuffle(order, state)
    end = at + room
    for number in range(codes.shape[1] * codes.shape[0]):
        if at >= end:
            break
        table, probe = order[number % codes.shape[0]], number // codes.shape[0]
        code = codes[table, probe]
        size = sizes[table, code] if code >= 0 else i4(0)
        if size <= 0:
            continue
        start = below(state, size)
        for i in range(size):
            place = start + i
            id_ = ids[table, code, place - size if place >= size else place]
            if counts[id_] != CHOSEN and at < end:
                counts[id_] = CHOSEN
                active[at] = id_
                at += 1
    return at


@kernel(void(I4_3R, I4_2R, I4_3R, I8_1R, I4_1R, I8_1R, i8, i8, i8, U8_1, U2_1, I4_1, I4_2, I4_2))
def select_vanilla(  # type: ignore[no-untyped-def]
    ids, sizes, codes, label_indptr, labels, rows, n_labels, n_active, n_random, seeds, counts, order,
    active, bounds,
):  # fmt: skip
    """Choose the active outputs of each sample: labels, then whole buckets of tables in random order.

    order   i4[n_tables], scratch
    others  as `select_active`

    Concurrency: one generation of the tables must be held; scratch is one thread's own.
    Allocates: nothing.  Cost: O(n_active + n_tables * n_codes) a sample: it stops reading when it has
    enough.  Unchecked: ranges of rows, labels, codes and ids.  Source: SLIDE, section 3.1.2.
    """
    for sample in range(rows.shape[0]):
        chosen, state = active[sample], seeds[sample : sample + 1]
        at = take_labels(label_indptr, labels, rows[sample], counts, chosen)
        bounds[sample, 0] = at
        room = max(0, n_active - n_random - at)
        at = _take_tables(ids, sizes, codes[sample], counts, order, room, state, chosen, at)
        bounds[sample, 1] = at
        at = take_random(counts, n_labels, n_active, state, chosen, at)
        bounds[sample, 2] = at
        for i in range(at):
            counts[chosen[i]] = np.uint16(0)


@device_function
def _take_frequent(counts, touched, n, room, min_hits, levels, state, active, at):  # type: ignore[no-untyped-def]
    """Append the touched ids hit at least ``min_hits`` times, in the order found; reset the others.

    Of more than ``room`` a random run (cyclic) of them is taken.
    """
    highest = 0
    while levels[highest + 1] > 0:
        highest += 1
    n_frequent = levels[min_hits] if min_hits <= highest else 0
    start = below(state, n_frequent) if n_frequent > room else 0
    end = start + min(room, n_frequent)
    passed = 0
    for i in range(n):
        id_ = touched[i]
        taken = False
        if counts[id_] >= min_hits:
            taken = (start <= passed < end) | (passed < end - n_frequent)
            passed += 1
        counts[id_] = CHOSEN if taken else np.uint16(0)
        if taken:
            active[at] = id_
            at += 1
    levels[: highest + 2] = 0
    return at


@kernel(void(I4_3R, I4_2R, I4_3R, I8_1R, I4_1R, I8_1R, i8, i8, i8, i8, U8_1, U2_1, I4_1, I8_1, I4_2, I4_2))
def select_threshold(  # type: ignore[no-untyped-def]
    ids, sizes, codes, label_indptr, labels, rows, n_labels, n_active, n_random, min_hits, seeds, counts,
    touched, levels, active, bounds,
):  # fmt: skip
    """Choose the active outputs of each sample: labels, then ids that enough of its buckets hold.

    min_hits  buckets that must hold an id, >= 1
    others    as `select_active`

    Where more ids pass than fit, each has the same chance.
    Concurrency: one generation of the tables must be held; scratch is one thread's own.
    Allocates: nothing.  Cost: O(hits + n_active) a sample, bound by the buckets' cache misses.
    Unchecked: ranges of rows, labels, codes and ids.  Source: SLIDE, section 3.1.2.
    """
    for sample in range(rows.shape[0]):
        chosen, state = active[sample], seeds[sample : sample + 1]
        at = take_labels(label_indptr, labels, rows[sample], counts, chosen)
        bounds[sample, 0] = at
        n = count_hits(ids, sizes, codes[sample], counts, touched, levels)
        room = max(0, n_active - n_random - at)
        at = _take_frequent(counts, touched, n, room, min_hits, levels, state, chosen, at)
        bounds[sample, 1] = at
        at = take_random(counts, n_labels, n_active, state, chosen, at)
        bounds[sample, 2] = at
        for i in range(at):
            counts[chosen[i]] = np.uint16(0)


@device_function
def _key(score, id_):  # type: ignore[no-untyped-def]
    """Return a number that orders by score, then by id; no two ids of a query have the same."""
    bits = bits_of(score)
    negative = bits >> u4(31)
    ordered = bits ^ (u4(0xFFFFFFFF) if negative else u4(0x80000000))
    return (u8(ordered) << u8(32)) | u8(id_)


@device_function
def _key_id(key):  # type: ignore[no-untyped-def]
    return i4(key & u8(0xFFFFFFFF))


@device_function
def _median_place(keys, low, high):  # type: ignore[no-untyped-def]
    """Return the place of the median of the first, middle and last key of [low, high)."""
    middle, last = (low + high) // 2, high - 1
    a, b, c = keys[low], keys[middle], keys[last]
    if (a < b) == (b < c):
        return middle
    return low if (b < a) == (a < c) else last


@device_function
def keep_largest(keys, n, k):  # type: ignore[no-untyped-def]
    """Order ``keys`` u8[>= n], distinct, so that the ``k`` largest of the first ``n`` come first.

    Quickselect (Hoare 1961); the partition swaps always and moves on only where a key is
    larger, since a branch on it would be mispredicted every other time.
    """
    low, high = 0, n
    while low < k and k < high:
        place, last = _median_place(keys, low, high), high - 1
        pivot = keys[place]
        keys[place] = keys[last]
        at = low
        for i in range(low, last):
            key = keys[i]
            keys[i] = keys[at]
            keys[at] = key
            at += key > pivot
        keys[last] = keys[at]
        keys[at] = pivot
        if at < k:
            low = at + 1
        else:
            high = at


@device_function
def score_pool(sketch, planes, offset, step, pool, n, keys):  # type: ignore[no-untyped-def]
    """Set ``keys`` to those of the estimated inner products of the first ``n`` ids of ``pool``."""
    for i in range(n):
        if i + _AHEAD < n:
            prefetch_sketch(sketch, i8(pool[i + _AHEAD]))
        keys[i] = _key(estimate(sketch, pool[i], planes, offset, step), pool[i])


@kernel(
    void(
        I4_3R, I4_2R, I4_3R, I8_1R, I4_1R, I8_1R, i8, i8, i8, U8_2R, U8_2R, F4_2R, U8_1, U2_1, I4_1, I8_1,
        I4_1, U8_1, I4_2, I4_2,
    )
)  # fmt: skip
def select_scored(  # type: ignore[no-untyped-def]
    ids, sizes, codes, label_indptr, labels, rows, n_labels, n_active, n_random, sketch, planes, scales,
    seeds, counts, touched, levels, pool, keys, active, bounds,
):  # fmt: skip
    """Choose the active outputs of each sample: labels, then those of a pool with the best estimates.

    The pool is what the sample's buckets hold; of more ids than ``pool`` has places,
    those that most buckets hold.

    sketch          u8[n_labels, words], the rows' sketches
    planes, scales  u8[m, 4 * words], f4[m, 2]: the samples' own, from `sketch_queries`
    pool, keys      i4[p] and u8[p], scratch
    others          as `select_active`; the retrieved ones are in no order

    Concurrency: one generation of the tables must be held; scratch is one thread's own.
    Sketches may be written meanwhile.  Allocates: nothing.
    Cost: O(hits + p * words) a sample, bound by cache misses.
    Unchecked: ranges of rows, labels, codes and ids.
    """
    for sample in range(rows.shape[0]):
        chosen, state = active[sample], seeds[sample : sample + 1]
        at = take_labels(label_indptr, labels, rows[sample], counts, chosen)
        bounds[sample, 0] = at
        n = count_hits(ids, sizes, codes[sample], counts, touched, levels)
        room = max(0, n_active - n_random - at)
        n_pool = take_best(counts, touched, n, pool.shape[0], levels, state, pool, 0)
        score_pool(sketch, planes[sample], scales[sample, 0], scales[sample, 1], pool, n_pool, keys)
        keep_largest(keys, n_pool, room)
        for i in range(n_pool):
            id_ = _key_id(keys[i])
            if i < room:
                chosen[at + i] = id_
            else:
                counts[id_] = np.uint16(0)
        at += min(room, n_pool)
        bounds[sample, 1] = at
        at = take_random(counts, n_labels, n_active, state, chosen, at)
        bounds[sample, 2] = at
        for i in range(at):
            counts[chosen[i]] = np.uint16(0)


@kernel(void(I4_3R, I4_2R, I4_3R, i8, U2_1, I4_1, I8_1, U8_1, I4_2, I4_1))
def retrieve_frequent(ids, sizes, codes, budget, counts, touched, levels, state, out, found):  # type: ignore[no-untyped-def]
    """Write the ``budget`` ids that most of each query's buckets hold, by descending count.

    budget   ids a query at most
    state    u8[1], where the choice among equal counts begins; the same for every query
    out      i4[m, >= budget], written in places [0, found)
    found    i4[m], written
    others   as `select_active`

    Concurrency: one generation of the tables must be held; scratch is one thread's own.
    Allocates: nothing.  Cost: O(hits) a query.  Unchecked: ranges of codes and ids.
    """
    begin = state[0]
    for sample in range(codes.shape[0]):
        state[0] = begin
        n = count_hits(ids, sizes, codes[sample], counts, touched, levels)
        n = take_best(counts, touched, n, budget, levels, state, out[sample], 0)
        for i in range(n):
            counts[out[sample, i]] = np.uint16(0)
        found[sample] = n
    state[0] = begin


@kernel(void(I4_3R, I4_2R, I4_3R, i8, U2_1, I4_2, I4_1))
def retrieve_first(ids, sizes, codes, budget, counts, out, found):  # type: ignore[no-untyped-def]
    """Write the first ``budget`` distinct ids: of all tables' own buckets, then of their next best ones.

    others   as `retrieve_frequent`

    Concurrency: one generation of the tables must be held; scratch is one thread's own.
    Allocates: nothing.  Cost: O(ids read until there are enough).  Unchecked: ranges of codes and ids.
    """
    n_tables, n_codes = codes.shape[1], codes.shape[2]
    for sample in range(codes.shape[0]):
        n = 0
        for number in range(n_tables * n_codes):
            if n >= budget:
                break
            table = number % n_tables
            code = codes[sample, table, number // n_tables]
            for i in range(sizes[table, code] if code >= 0 else i4(0)):
                id_ = ids[table, code, i]
                if counts[id_] == 0 and n < budget:
                    counts[id_] = CHOSEN
                    out[sample, n] = id_
                    n += 1
        for i in range(n):
            counts[out[sample, i]] = np.uint16(0)
        found[sample] = n


@kernel(void(U8_2R, U8_2R, F4_2R, I4_2R, I4_1, i8, U8_1, I4_2))
def keep_scored(sketch, planes, scales, candidates, found, budget, keys, out):  # type: ignore[no-untyped-def]
    """Write the ``budget`` candidates of each query with the best estimates, in no order.

    sketch, planes, scales  as `select_scored`
    candidates  i4[m, c], distinct ids at places [0, found[i])
    found       i4[m], lowered to the ids written
    keys        u8[c], scratch
    out         i4[m, >= budget], written in places [0, found)

    Concurrency: scratch is one thread's own.  Allocates: nothing.  Cost: O(candidates * words).
    Unchecked: ranges of ids.
    """
    for sample in range(candidates.shape[0]):
        n = found[sample]
        score_pool(sketch, planes[sample], scales[sample, 0], scales[sample, 1], candidates[sample], n, keys)
        keep_largest(keys, n, budget)
        n = min(n, budget)
        for i in range(n):
            out[sample, i] = _key_id(keys[i])
        found[sample] = n
