from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.kernels.probing import best_codes, best_flips

costs = st.integers(1, 1000)


@settings(max_examples=150, deadline=None)
@given(
    choices=st.lists(st.lists(costs, min_size=2, max_size=2), min_size=1, max_size=5),
    n_wanted=st.integers(1, 12),
)
def test_best_codes_are_those_of_least_total(choices, n_wanted):
    """The kept codes are distinct, ascending, and cost what the best of all combinations cost."""
    table = np.array([[0, *np.cumsum(row)] for row in choices], np.float32)
    digits = np.tile(np.array([2, 0, 1], np.int32), (len(choices), 1))
    out = np.empty(n_wanted, np.int32)
    best_codes(table, digits, 4, np.empty((2, n_wanted), np.float32), np.empty((2, n_wanted), np.int32), out)
    totals = {}
    for combination in itertools.product(range(3), repeat=len(choices)):
        code = 0
        for k, j in enumerate(combination):
            code = code * 4 + int(digits[k, j])
        totals[code] = sum(float(table[k, j]) for k, j in enumerate(combination))
    kept = [int(code) for code in out if code >= 0]
    assert len(set(kept)) == len(kept) == min(n_wanted, len(totals))
    assert [totals[code] for code in kept] == sorted(totals.values())[: len(kept)]
    assert totals[kept[0]] == 0.0


def test_absent_choices_leave_places_empty():
    """Where hashes have no second choice, no further codes are made up."""
    table = np.array([[0.0, np.inf], [0.0, 4.0]], np.float32)
    digits = np.array([[3, 0], [1, 2]], np.int32)
    out = np.empty(4, np.int32)
    best_codes(table, digits, 4, np.empty((2, 4), np.float32), np.empty((2, 4), np.int32), out)
    assert out.tolist() == [13, 14, -1, -1]


@settings(max_examples=150, deadline=None)
@given(
    margins=st.lists(st.integers(-40, 40), min_size=1, max_size=8),
    n_wanted=st.integers(1, 40),
)
def test_best_flips_are_those_of_least_squared_margin(margins, n_wanted):
    """The kept codes are distinct and flip the bit sets of least summed squared margin."""
    n_bits = len(margins)
    n_wanted = min(n_wanted, 2**n_bits)
    out = np.empty(n_wanted, np.int32)
    best_flips(
        np.array(margins, np.float32),
        np.empty((3, n_wanted), np.float32),
        np.empty((3, n_wanted), np.int32),
        out,
    )
    own = sum((margin > 0) << (n_bits - 1 - k) for k, margin in enumerate(margins))

    def total(code):
        return sum(m * m for k, m in enumerate(margins) if (own ^ code) >> (n_bits - 1 - k) & 1)

    kept = out.tolist()
    assert kept[0] == own
    assert len(set(kept)) == n_wanted
    assert [total(code) for code in kept] == sorted(total(code) for code in range(2**n_bits))[:n_wanted]
