from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.kernels.probing import best_codes, best_flips, keep_best

costs = st.integers(1, 1000)


def best(table, parts, n):
    """Codes and scores of the n best sums."""
    out, scores = np.empty(n, np.int32), np.empty(n, np.float32)
    best_codes(table, parts, np.empty((2, n), np.float32), np.empty((2, n), np.uint64), out, scores)
    return out.tolist(), scores.tolist()


@settings(max_examples=150, deadline=None)
@given(
    choices=st.lists(st.lists(costs, min_size=2, max_size=2), min_size=1, max_size=5),
    n_wanted=st.integers(1, 12),
)
def test_best_codes_are_those_of_least_total(choices, n_wanted):
    """The kept codes are distinct, ascending, and cost what the best of all combinations cost."""
    table = np.array([[0, *np.cumsum(row)] for row in choices], np.float32)
    weights = 4 ** np.arange(len(choices), dtype=np.uint64)
    parts = np.array([2, 0, 1], np.uint64) * weights[:, None]
    codes, scores = best(table, parts, n_wanted)
    totals = {}
    for combination in itertools.product(range(3), repeat=len(choices)):
        code = sum(int(parts[k, j]) for k, j in enumerate(combination))
        totals[code] = sum(float(table[k, j]) for k, j in enumerate(combination))
    kept = [code for code in codes if code >= 0]
    assert len(set(kept)) == len(kept) == min(n_wanted, len(totals))
    assert [totals[code] for code in kept] == sorted(totals.values())[: len(kept)] == scores[: len(kept)]
    assert scores[len(kept) :] == [np.inf] * (n_wanted - len(kept))
    assert totals[kept[0]] == 0.0


def test_absent_choices_leave_places_empty():
    """Where hashes have no second choice, no further codes are made up."""
    table = np.array([[0.0, np.inf], [0.0, 4.0]], np.float32)
    parts = np.array([[12, 0], [1, 2]], np.uint64)
    assert best(table, parts, 4) == ([13, 14, -1, -1], [0.0, 4.0, np.inf, np.inf])


@settings(max_examples=150, deadline=None)
@given(
    margins=st.lists(st.integers(-40, 40), min_size=1, max_size=8),
    n_wanted=st.integers(1, 40),
)
def test_best_flips_are_those_of_least_squared_margin(margins, n_wanted):
    """The kept codes are distinct and flip the bit sets of least summed squared margin."""
    n_bits = len(margins)
    n_wanted = min(n_wanted, 2**n_bits)
    out, scores = np.empty(n_wanted, np.int32), np.empty(n_wanted, np.float32)
    best_flips(
        np.array(margins, np.float32),
        np.empty((3, n_wanted), np.float32),
        np.empty((3, n_wanted), np.int32),
        out,
        scores,
    )
    own = sum((margin > 0) << (n_bits - 1 - k) for k, margin in enumerate(margins))

    def total(code):
        return sum(m * m for k, m in enumerate(margins) if (own ^ code) >> (n_bits - 1 - k) & 1)

    kept = out.tolist()
    assert kept[0] == own
    assert len(set(kept)) == n_wanted
    assert [total(code) for code in kept] == sorted(total(code) for code in range(2**n_bits))[:n_wanted]
    assert scores.tolist() == [total(code) for code in kept]


@settings(max_examples=100, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 7)),
    n_kept=st.integers(0, 30),
    seed=st.integers(0, 2**32),
)
def test_keep_best_keeps_the_best_over_tables(shape, n_kept, seed):
    """Each table's first probe stays; of the others, those of least score less the table's mean."""
    random = np.random.default_rng(seed)
    scores = np.sort(random.integers(0, 9, shape), axis=2).astype(np.float32)
    scores[:, :, 0] = 0
    scores[random.random(shape) < 0.1] = np.inf  # places that were empty before
    scores = np.sort(scores, axis=2)
    probes = np.where(np.isfinite(scores), random.integers(0, 99, shape), -1).astype(np.int32)
    before = probes.copy()
    old = scores.copy()
    keep_best(probes, scores, n_kept, np.empty(shape[1] * shape[2], np.float32))
    np.testing.assert_array_equal(probes[:, :, 0], before[:, :, 0])
    kept = probes >= 0
    np.testing.assert_array_equal(probes[kept], before[kept])
    np.testing.assert_array_equal(np.isfinite(scores[:, :, 1:]), kept[:, :, 1:])
    assert not np.any(kept[:, :, 1:] & ~kept[:, :, :-1] & (before[:, :, :-1] >= 0)), "used places come first"
    held = np.where(np.isfinite(old), old, 0)
    counts = np.maximum(np.isfinite(old).sum(axis=2), 1).astype(np.float32)
    above = old - (held.sum(axis=2, dtype=np.float32) / counts)[:, :, None]
    for query in range(shape[0]):
        others = np.sort(above[query, :, 1:][np.isfinite(old[query, :, 1:])])
        left = np.sort(above[query, :, 1:][kept[query, :, 1:]])
        np.testing.assert_array_equal(left, others[:n_kept])
