"""Rows of generated data, each from its number alone: any slice can be made by itself.

A label belongs to a cluster of labels.  An instance's features come from the feature
pools of its labels' clusters, from its labels' own pools, and from all features as
noise.  Pools are hashes, never stored, so memory does not grow with the number of labels.
"""

from __future__ import annotations

import math

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import F4_1, F8_1R, I4_1, I8_1, I8_1R, U8_1, f4, i8, u8, void
from distlsh.kernels.random import below, mix64, next_u8, scaled, uniform
from distlsh.kernels.sorting import sort_ids

# Places of the integer parameters.
N_TRAIN, N_FEATURES, N_LABELS, CLUSTER_SIZE, N_GUARANTEED = 0, 1, 2, 3, 4
ROW_STEP, LABEL_STEP, FEATURE_STEP = 5, 6, 7
CLUSTER_POOL, OWN_POOL, MAX_LABELS, MAX_FEATURES = 8, 9, 10, 11
N_INTS = 12
# Places of the real parameters.
EXPONENT, NOISE, MEAN_LABELS, MEAN_FEATURES = 0, 1, 2, 3
N_REALS = 4

TRAIN, TEST = 0, 1
DECIMALS = 4
_OWN_SHARE = 0.3  # of the features that are not noise
_SAME_CLUSTER = 0.75  # of an instance's further labels


@device_function
def _power_law_rank(u, n, exponent):  # type: ignore[no-untyped-def]
    """Return a rank in [0, n) of a power law of the given exponent, by inverting its integral at ``u``."""
    if abs(exponent - 1.0) < 1e-9:
        x = math.exp(u * math.log(n + 1.0))
    else:
        power = 1.0 - exponent
        x = (1.0 + u * ((n + 1.0) ** power - 1.0)) ** (1.0 / power)
    return min(int(x) - 1, n - 1)


@device_function
def _draw_label(ints, reals, state):  # type: ignore[no-untyped-def]
    rank = _power_law_rank(uniform(state), ints[N_LABELS], reals[EXPONENT])
    return rank * ints[LABEL_STEP] % ints[N_LABELS]


@device_function
def _row_labels(ints, reals, seed, row, state, labels, start):  # type: ignore[no-untyped-def]
    """Write the labels of training row ``row`` from place ``start``, unsorted; return where they end."""
    state[0] = mix64(mix64(seed) ^ mix64(u8(2 * row)))
    place = row * ints[ROW_STEP] % ints[N_TRAIN]
    if place < ints[N_GUARANTEED]:
        first = place * ints[LABEL_STEP] % ints[N_LABELS]
    else:
        first = _draw_label(ints, reals, state)
    labels[start] = first
    stop = start + 1
    size = ints[CLUSTER_SIZE]
    cluster_start = first // size * size
    n_cluster = min(size, ints[N_LABELS] - cluster_start)
    limit = math.exp(1.0 - reals[MEAN_LABELS])
    product = uniform(state)
    while product > limit and stop - start < ints[MAX_LABELS]:
        for _ in range(8):
            if uniform(state) < _SAME_CLUSTER:
                label = cluster_start + below(state, n_cluster)
            else:
                label = _draw_label(ints, reals, state)
            found = False
            for i in range(start, stop):
                found = found or labels[i] == label
            if not found:
                labels[stop] = label
                stop += 1
                break
        product *= uniform(state)
    return stop


@device_function
def _insert_feature(indices, values, start, stop, feature, value):  # type: ignore[no-untyped-def]
    """Insert a feature in its order; return 1, or 0 if it is there already."""
    low, high = start, stop
    while low < high:
        middle = (low + high) >> 1
        if indices[middle] < feature:
            low = middle + 1
        else:
            high = middle
    if low < stop and indices[low] == feature:
        return 0
    for j in range(stop, low, -1):
        indices[j] = indices[j - 1]
        values[j] = values[j - 1]
    indices[low] = feature
    values[low] = value
    return 1


@device_function
def _pool_feature(seed, kind, owner, place, n_features):  # type: ignore[no-untyped-def]
    key = mix64(seed ^ mix64(u8(owner) * u8(2) + u8(kind)))
    return scaled(mix64(key + u8(place)), n_features)


@device_function
def _draw_feature(ints, reals, seed, label, state):  # type: ignore[no-untyped-def]
    """Return a feature of an instance of ``label`` and its weight before scaling."""
    n_features = ints[N_FEATURES]
    u = uniform(state)
    v = uniform(state)
    if u < reals[NOISE]:
        rank = _power_law_rank(v, n_features, 1.0)
        return rank * ints[FEATURE_STEP] % n_features, 0.2 + 0.5 * uniform(state)
    own = u < reals[NOISE] + (1.0 - reals[NOISE]) * _OWN_SHARE
    pool = ints[OWN_POOL] if own else ints[CLUSTER_POOL]
    owner = label if own else label // ints[CLUSTER_SIZE]
    feature = _pool_feature(seed, 1 if own else 0, owner, int(v * v * pool), n_features)
    return feature, 0.4 + 0.8 * uniform(state)


@device_function
def _scale_and_round(values, start, stop):  # type: ignore[no-untyped-def]
    """Scale to Euclidean norm 1 and round to DECIMALS places, at least one unit of the last."""
    total = 0.0
    for i in range(start, stop):
        total += float(values[i]) * float(values[i])
    scale = 10.0**DECIMALS / math.sqrt(total)
    for i in range(start, stop):
        values[i] = f4(max(math.floor(values[i] * scale + 0.5), 1.0) / 10.0**DECIMALS)


@kernel(
    void(I8_1R, F8_1R, u8, i8, i8, i8, U8_1, I4_1, I4_1, I4_1, I4_1, F4_1, I8_1),
    fastmath=False,  # the rounded values are part of what a seed promises
)
def synth_rows(  # type: ignore[no-untyped-def]
    ints,
    reals,
    seed,
    split,
    first_row,
    n_rows,
    state,
    label_sizes,
    feature_sizes,
    labels,
    indices,
    values,
    counts,
):
    """Generate consecutive rows.

    ints, reals   i8[N_INTS], f8[N_REALS], see the places above
    split         TRAIN or TEST; a test row has the labels of a random training row
    first_row     number of the first row in its split
    state         u8[1], scratch
    label_sizes, feature_sizes   i4[n_rows], written
    labels        i4[n_rows * MAX_LABELS], written, ascending within a row
    indices, values   i4, f4[n_rows * MAX_FEATURES], written; unit norm, rounded to DECIMALS places
    counts        i8[2], written: entries of ``labels`` and of ``indices``

    Concurrency: none shared.  Allocates: nothing.  Cost: O(entries * log(entries of a row)).
    Unchecked: array sizes; parameters (`data.synth` makes them).
    """
    lab, feat = i8(0), i8(0)
    for r in range(n_rows):
        row = first_row + r
        row_seed = mix64(mix64(seed + u8(split)) ^ mix64(u8(2 * row + 1)))
        source = row
        if split == TEST:
            state[0] = row_seed
            source = i8(next_u8(state) % u8(ints[N_TRAIN]))
        stop_lab = _row_labels(ints, reals, seed, source, state, labels, lab)
        sort_ids(labels, lab, stop_lab)
        state[0] = mix64(row_seed)
        n_labels = stop_lab - lab
        wanted = max(i8(1), min(int(reals[MEAN_FEATURES] * (0.5 + uniform(state)) + 0.5), ints[MAX_FEATURES]))
        start = feat
        for _ in range(4 * wanted + 8):
            label = i8(labels[lab + below(state, n_labels)])
            feature, weight = _draw_feature(ints, reals, seed, label, state)
            feat += _insert_feature(indices, values, start, feat, feature, weight)
            if feat - start >= wanted:
                break
        _scale_and_round(values, start, feat)
        label_sizes[r] = n_labels
        feature_sizes[r] = feat - start
        lab = stop_lab
    counts[0] = lab
    counts[1] = feat
