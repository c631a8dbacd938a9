"""Partners of instances and the contrastive loss, against slow references."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.kernels.pretrain import (
    choose_labels,
    choose_partners,
    contrastive_gradient,
    group_by_label,
    join_instances,
)

N_LABELS = 6
label_lists = st.lists(st.lists(st.integers(0, N_LABELS - 1), max_size=4), min_size=1, max_size=12)


def flat(lists):
    indptr = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return indptr, np.array([label for one in lists for label in one], np.int32)


def grouped(lists):
    indptr, labels = flat(lists)
    starts, last = np.full(N_LABELS + 1, -7, np.int64), np.full(N_LABELS, -7, np.int32)
    by_label = np.full(len(labels), -7, np.int32)
    n = group_by_label(indptr, labels, starts, by_label, last)
    return starts, by_label[:n]


def instances_of(lists, label):
    return [i for i, one in enumerate(lists) if label in one]


def chosen(lists, rows, seed):
    starts, _ = grouped(lists)
    kept, labels = np.empty(len(rows), np.int64), np.empty(len(rows), np.int32)
    n = choose_labels(*flat(lists), starts, rows, np.array([seed], np.uint64), kept, labels)
    return kept[:n], labels[:n]


@given(lists=label_lists)
@settings(deadline=None, max_examples=100)
def test_instances_are_listed_by_label_once_each(lists):
    """Each label's list holds its instances, ascending, however often an instance repeats the label."""
    starts, by_label = grouped(lists)
    found = [by_label[starts[i] : starts[i + 1]].tolist() for i in range(N_LABELS)]
    assert found == [instances_of(lists, label) for label in range(N_LABELS)]
    assert starts[0] == 0 and starts[-1] == len(by_label)


@given(lists=label_lists, seed=st.integers(0, 2**64 - 1))
@settings(deadline=None, max_examples=100)
def test_a_label_that_another_instance_has_is_chosen(lists, seed):
    """Kept are, in order, the instances with a shared label; each gets one of its own shared labels."""
    rows = np.random.default_rng(seed).permutation(len(lists))
    kept, labels = chosen(lists, rows, seed)
    shared = [{x for x in one if len(instances_of(lists, x)) > 1} for one in lists]
    assert kept.tolist() == [row for row in rows if shared[row]]
    assert all(label in shared[row] for row, label in zip(kept, labels, strict=True))


def test_every_shared_label_of_an_instance_is_drawn_alike():
    """Of three shared labels and one of its own, each shared one is drawn a third of the time (5 sigma)."""
    lists, n = [[0, 1, 2, 3], [0, 1], [2]], 9000
    _, labels = chosen(lists, np.zeros(n, np.int64), 5)
    counts = np.bincount(labels, minlength=4)
    assert counts[3] == 0
    np.testing.assert_allclose(counts[:3], n / 3, atol=5 * np.sqrt(n * 2 / 9))


@given(lists=label_lists, seed=st.integers(0, 2**64 - 1), most=st.integers(1, 5))
@settings(deadline=None, max_examples=100)
def test_partners_are_other_instances_of_the_label(lists, seed, most):
    """All others where they are few, else ``most`` of them; never the instance itself."""
    starts, by_label = grouped(lists)
    kept, labels = chosen(lists, np.arange(len(lists)), seed)
    ends, partners = np.empty(len(kept) + 1, np.int64), np.empty(len(kept) * most, np.int64)
    n = choose_partners(starts, by_label, kept, labels, most, np.array([seed], np.uint64), ends, partners)
    assert n == ends[-1] and ends[0] == 0
    for i, (row, label) in enumerate(zip(kept, labels, strict=True)):
        found = partners[ends[i] : ends[i + 1]].tolist()
        others = [other for other in instances_of(lists, label) if other != row]
        if len(others) <= most:
            assert found == others
        else:
            assert len(found) == most and set(found) <= set(others)


def test_drawn_partners_are_uniform():
    """Each of nine others is drawn equally often (5 sigma)."""
    lists, n, most = [[0]] * 10, 2000, 4
    starts, by_label = grouped(lists)
    rows, labels = np.full(n, 3, np.int64), np.zeros(n, np.int32)
    ends, partners = np.empty(n + 1, np.int64), np.empty(n * most, np.int64)
    choose_partners(starts, by_label, rows, labels, most, np.array([9], np.uint64), ends, partners)
    counts = np.bincount(partners, minlength=10)
    assert counts[3] == 0
    mean = n * most / 9
    np.testing.assert_allclose(np.delete(counts, 3), mean, atol=5 * np.sqrt(mean))


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 8), m=st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_joined_instances_hold_their_partners_features_one_after_the_other(seed, n, m):
    """Row i's features are those of its partners in turn, also of partners without any."""
    random = np.random.default_rng(seed)
    sizes, counts = random.integers(0, 4, n), random.integers(0, 4, m)
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    indices, values = random.integers(0, 9, indptr[-1]).astype(np.int32), random.random(indptr[-1])
    values = values.astype(np.float32)
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    partners = random.integers(0, n, ends[-1])
    wanted = [np.concatenate([np.arange(indptr[p], indptr[p + 1]) for p in partners[a:b]] or [[]])
              for a, b in pairwise(ends)]  # fmt: skip
    room = sum(map(len, wanted))
    out = np.empty(m + 1, np.int64), np.empty(room, np.int32), np.empty(room, np.float32)
    assert join_instances(indptr, indices, values, ends, partners, *out) == room
    places = np.concatenate([*wanted, []]).astype(np.int64)
    np.testing.assert_array_equal(out[0], np.cumsum([0, *map(len, wanted)]))
    np.testing.assert_array_equal(out[1], indices[places])
    np.testing.assert_array_equal(out[2], values[places])


def slow_loss(cosines, drawn, own, scale):
    """Return the summed loss in float64; ``own`` lists each row's labels."""
    total = 0.0
    for i, row in enumerate(scale * cosines.astype(np.float64)):
        on = [j for j in range(len(drawn)) if j == i or drawn[j] not in own[i]]
        total += np.log(np.exp(row[on] - row.max()).sum()) + row.max() - row[i]
    return total


def gradient_of(cosines, drawn, scale, own=None):
    """Turn ``cosines`` into gradients; return the loss. ``own``: labels of each row; else the drawn one."""
    own = [[label] for label in drawn] if own is None else own
    indptr = np.cumsum([0, *map(len, own)]).astype(np.int64)
    labels = np.array([label for one in own for label in one], np.int32)
    rows = np.arange(len(drawn), dtype=np.int64)
    return contrastive_gradient(cosines, rows, np.array(drawn, np.int32), indptr, labels, scale)


@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 9),
    n_labels=st.integers(1, 9),
    scale=st.sampled_from([0.5, 5.0, 30.0]),
)
@settings(deadline=None, max_examples=60)
def test_contrastive_gradient_is_the_losss(seed, m, n_labels, scale):
    """Loss and gradient are those of central differences; other columns of the row's labels get none."""
    random = np.random.default_rng(seed)
    cosines = random.uniform(-1, 1, (m, m)).astype(np.float32)
    drawn = random.integers(0, n_labels, m).tolist()
    own = [[label, *random.integers(0, n_labels, random.integers(0, 3)).tolist()] for label in drawn]
    gradient, h = cosines.copy(), 1e-5
    found = gradient_of(gradient, drawn, scale, own)
    assert found == pytest.approx(slow_loss(cosines, drawn, own, scale), rel=1e-4, abs=1e-4)
    for place in np.ndindex(m, m):
        moved = np.zeros((m, m))
        moved[place] = h
        up, down = (slow_loss(cosines + sign * moved, drawn, own, scale) for sign in (1, -1))
        assert gradient[place] == pytest.approx((up - down) / (2 * h), abs=2e-4 * scale)
        if drawn[place[1]] in own[place[0]] and place[0] != place[1]:
            assert gradient[place] == 0.0


def test_a_batch_of_one_and_one_of_a_single_label_teach_nothing():
    """Without negatives loss and gradient are exactly 0."""
    for m in (1, 4):
        cosines = np.random.default_rng(m).uniform(-1, 1, (m, m)).astype(np.float32)
        assert gradient_of(cosines, [0] * m, 15.0) == 0.0
        assert not cosines.any()


def test_large_scales_do_not_overflow_and_nan_shows():
    """Logits of thousands keep the loss finite; a NaN among the cosines makes it NaN."""
    cosines = np.array([[-1.0, 1.0], [1.0, 1.0]], np.float32)
    assert gradient_of(cosines, [0, 1], 5000.0) == pytest.approx(10_000.69, rel=1e-5)
    cosines = np.array([[0.5, np.nan], [0.1, 0.2]], np.float32)
    assert np.isnan(gradient_of(cosines, [0, 1], 5.0))
