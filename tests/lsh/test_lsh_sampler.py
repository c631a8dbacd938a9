from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.constants import EMPTY
from distlsh.errors import ShapeError
from distlsh.kernels.random import sample_seeds
from distlsh.lsh import ActiveSampler, HashSpec, Tables, table_specs

N_TABLES, N_CODES = 6, 2
SPEC = HashSpec("fast_srp", 3, N_TABLES, 1, 8)


class Setting:
    """Filled tables, a sampler, and the arrays of a call."""

    def __init__(self, n_labels, n_active, n_random=0, bucket_size=5, m=4, n_labelled=2, seed=0):
        random = np.random.default_rng(seed)
        arrays = {s.name: np.zeros(s.shape, s.dtype) for s in table_specs(SPEC, n_labels, bucket_size)}
        self.tables = Tables(arrays, 0)
        self.tables.insert(
            random.permutation(n_labels).astype(np.int32),
            random.integers(0, SPEC.n_buckets, (n_labels, N_TABLES)).astype(np.int32),
        )
        self.n_labels, self.n_active, self.n_random, self.m = n_labels, n_active, n_random, m
        self.sampler = ActiveSampler(
            n_labels, n_active, n_random, n_tables=N_TABLES, n_codes=2, bucket_size=bucket_size, batch=m
        )
        counts = random.integers(0, n_labelled + 1, 10)
        self.indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.labels = random.integers(0, n_labels, self.indptr[-1]).astype(np.int32)
        self.rows = random.integers(0, 10, m)
        first = random.integers(0, SPEC.n_buckets, (m, N_TABLES, 1))
        self.codes = np.concatenate([first, (first + 1) % SPEC.n_buckets], 2).astype(np.int32)
        self.seeds = np.empty(m, np.uint64)
        sample_seeds(np.uint64(seed), np.uint64(0), self.seeds)
        most = int(counts.max())
        self.active = np.full((m, max(n_active, most)), -7, np.int32)
        self.bounds = np.empty((m, 3), np.int32)

    def select(self):
        self.sampler.select(
            self.tables, self.codes, self.indptr, self.labels, self.rows, self.seeds, self.active, self.bounds
        )
        return self.active, self.bounds

    def labels_of(self, sample):
        row = self.rows[sample]
        return self.labels[self.indptr[row] : self.indptr[row + 1]].tolist()

    def hits(self, sample):
        """Count of buckets that hold each id that is not a label."""
        hits = Counter()
        for table in range(N_TABLES):
            for code in self.codes[sample, table]:
                if code >= 0:
                    hits.update(self.tables.ids[table, code, : self.tables.sizes[table, code]].tolist())
        for label in self.labels_of(sample):
            del hits[label]
        return hits


@settings(max_examples=120, deadline=None)
@given(
    n_labels=st.integers(1, 120),
    n_active=st.integers(1, 130),
    random_share=st.floats(0, 1),
    bucket_size=st.integers(1, 12),
    n_labelled=st.integers(0, 12),
    seed=st.integers(0, 2**32),
)
def test_active_sets_are_labels_then_best_counts_then_random(
    n_labels, n_active, random_share, bucket_size, n_labelled, seed
):
    """Against a recomputation: order, budget, distinctness and counts of each part."""
    n_random = int(random_share * n_active)
    case = Setting(n_labels, n_active, n_random, bucket_size, n_labelled=n_labelled, seed=seed)
    case.codes[0, 0, 0] = EMPTY
    active, bounds = case.select()
    for sample in range(case.m):
        b0, b1, b2 = bounds[sample].tolist()
        chosen = active[sample, :b2].tolist()
        hits = case.hits(sample)
        distinct = list(dict.fromkeys(case.labels_of(sample)))
        assert chosen[:b0] == distinct
        assert len(set(chosen)) == b2
        assert all(0 <= id_ < n_labels for id_ in chosen)
        assert b2 == max(b0, min(n_active, n_labels))
        assert b1 - b0 == min(len(hits), max(0, n_active - n_random - b0))
        retrieved = [hits[id_] for id_ in chosen[b0:b1]]
        assert retrieved == sorted(hits.values(), reverse=True)[: b1 - b0]


def test_scratch_is_clean_after_a_call():
    """A call repeated with the same random states chooses the same: nothing is left behind."""
    case = Setting(200, 50, 10)
    seeds = case.seeds.copy()
    first = [array.copy() for array in case.select()]
    assert not np.array_equal(case.seeds, seeds)
    case.seeds[:] = seeds
    second = case.select()
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_choices_do_not_depend_on_the_batch():
    """A sample chooses the same alone as among others: its random state is its own."""
    case = Setting(300, 40, 5)
    seeds = case.seeds.copy()
    active, bounds = (array.copy() for array in case.select())
    last = case.m - 1
    alone = case.active[:1].copy(), case.bounds[:1].copy()
    case.sampler.select(
        case.tables, case.codes[last:], case.indptr, case.labels, case.rows[last:], seeds[last:], *alone
    )
    np.testing.assert_array_equal(alone[1][0], bounds[last])
    np.testing.assert_array_equal(alone[0][0, : bounds[last, 2]], active[last, : bounds[last, 2]])


def test_more_labels_than_active_outputs():
    """All labels are active then, and nothing else."""
    case = Setting(500, 8, 4, n_labelled=2)
    case.indptr = np.array([0, 30], np.int64)
    case.labels = np.arange(100, 130, dtype=np.int32)
    case.rows[:] = 0
    case.active = np.zeros((case.m, 30), np.int32)
    active, bounds = case.select()
    assert np.all(bounds == 30)
    np.testing.assert_array_equal(active, np.tile(case.labels, (case.m, 1)))


def test_repeated_labels_count_once():
    """A label that an instance names twice is one active output."""
    case = Setting(50, 10)
    case.indptr = np.array([0, 4], np.int64)
    case.labels = np.array([3, 9, 3, 3], np.int32)
    case.rows[:] = 0
    active, bounds = case.select()
    assert np.all(bounds[:, 0] == 2)
    assert np.all(active[:, :2] == [3, 9])


def test_few_labels_are_all_active():
    """Where there are fewer outputs than wanted, all are active and the draw ends."""
    case = Setting(3, 3, 3)
    active, bounds = case.select()
    assert np.all(bounds[:, 2] == 3)
    np.testing.assert_array_equal(np.sort(active, axis=1), np.tile([0, 1, 2], (case.m, 1)))


def test_wrong_shapes_are_refused():
    """Codes of other tables, too many samples and too small arrays never reach the kernel."""
    case = Setting(50, 10)
    codes = case.codes
    case.codes = codes[:, :3]
    with pytest.raises(ShapeError, match="samples with codes"):
        case.select()
    case.codes = codes
    case.active = case.active[:, :5].copy()
    with pytest.raises(ShapeError, match="10 or more"):
        case.select()
    case = Setting(50, 10)
    case.tables = Setting(50, 10, bucket_size=6).tables
    with pytest.raises(ShapeError, match="was made for"):
        case.select()
