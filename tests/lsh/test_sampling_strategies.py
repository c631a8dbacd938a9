from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.constants import EMPTY
from distlsh.errors import ConfigError, ShapeError, UsageError
from distlsh.kernels.random import sample_seeds
from distlsh.lsh import ActiveSampler, HashSpec, Sketcher, Tables, retrieve
from tests.lsh.references import hits_of

N_TABLES, N_CODES, DIMS = 6, 3, 20
SPEC = HashSpec("fast_srp", 3, N_TABLES, N_CODES - 1, DIMS)
STRATEGIES = ["topk", "vanilla", "threshold", "score"]


class Case:
    """Filled tables with sketches, queries with codes, and a call of a sampler."""

    def __init__(self, n_labels, n_active, sampling, *, n_random=0, bucket_size=6, seed=0, **settings):
        random = np.random.default_rng(seed)
        self.m, self.n_labels, self.n_active, self.n_random = 4, n_labels, n_active, n_random
        self.tables = Tables.create(SPEC, n_labels, bucket_size, sketch=True)
        ids = np.arange(n_labels, dtype=np.int32)
        codes = random.integers(0, SPEC.n_buckets, (n_labels, N_TABLES)).astype(np.int32)
        self.tables.insert(random.permutation(ids), codes)
        self.rows = random.standard_normal((n_labels, DIMS)).astype(np.float32)
        self.sketcher = Sketcher(DIMS, seed=3)
        self.sketcher.rows(self.rows, ids, None, self.tables.sketch)
        self.queries = random.standard_normal((self.m, DIMS)).astype(np.float32)
        self.codes = np.argsort(random.random((self.m, N_TABLES, SPEC.n_buckets)))[:, :, :N_CODES].astype(
            "i4"
        )
        self.codes[0, 0, 0] = EMPTY
        self.labels = random.integers(0, n_labels, (self.m, 2)).astype(np.int32)
        self.seeds = np.empty(self.m, np.uint64)
        sample_seeds(np.uint64(seed), np.uint64(0), self.seeds)
        self.sampler = ActiveSampler(
            n_labels, n_active, n_random, n_tables=N_TABLES, n_codes=N_CODES, bucket_size=bucket_size,
            batch=self.m, sampling=sampling, sketcher=self.sketcher, **settings,
        )  # fmt: skip

    def select(self):
        active = np.full((self.m, max(2, self.n_active)), -7, np.int32)
        bounds = np.empty((self.m, 3), np.int32)
        indptr = np.arange(0, 2 * self.m + 1, 2, dtype=np.int64)
        rows = np.arange(self.m, dtype=np.int64)
        labels = self.labels.ravel()
        self.sampler.select(
            self.tables, self.codes, indptr, labels, rows, self.seeds.copy(), active, bounds, self.queries
        )
        return active, bounds

    def parts(self, sample):
        """Labels, retrieved and random ids chosen, and the hits of ids that are not labels."""
        active, bounds = self.select()
        b0, b1, b2 = bounds[sample].tolist()
        chosen = active[sample, :b2].tolist()
        assert len(set(chosen)) == b2 == max(b0, min(self.n_active, self.n_labels))
        hits = hits_of(self.tables, self.codes[sample])
        for label in self.labels[sample].tolist():
            del hits[label]
        assert chosen[:b0] == list(dict.fromkeys(self.labels[sample].tolist()))
        return chosen[:b0], chosen[b0:b1], chosen[b1:], hits

    def room(self, labels):
        return max(0, self.n_active - self.n_random - len(labels))

    def estimates(self, sample, ids):
        queries = self.sketcher.queries(self.queries)
        return self.sketcher.estimate(self.tables.sketch, queries, sample, np.array(ids, np.int32))


sizes = {
    "n_labels": st.integers(1, 120),
    "n_active": st.integers(1, 90),
    "bucket_size": st.integers(1, 12),
    "seed": st.integers(0, 2**32),
}


@settings(max_examples=60, deadline=None)
@given(**sizes, n_random=st.integers(0, 30))
def test_vanilla_takes_whole_buckets_until_there_are_enough(n_labels, n_active, bucket_size, seed, n_random):
    """Retrieved ids are all there are or as many as fit; all but one bucket read give all their ids."""
    n_random = min(n_random, n_active)
    case = Case(n_labels, n_active, "vanilla", n_random=n_random, bucket_size=bucket_size, seed=seed)
    for sample in range(case.m):
        labels, retrieved, _, hits = case.parts(sample)
        assert len(retrieved) == min(len(hits), case.room(labels))
        assert set(retrieved) <= set(hits)
        left = set(retrieved)
        cut = 0
        while left:
            first = next(id_ for id_ in retrieved if id_ in left)
            buckets = [b for b in buckets_of(case, sample) if first in b]
            whole = [b for b in buckets if b - set(labels) <= set(retrieved)]
            cut += not whole
            left -= set().union(*(whole or buckets))
        assert cut <= 1


def buckets_of(case, sample):
    return [
        set(case.tables.ids[t, code, : case.tables.sizes[t, code]].tolist())
        for t, row in enumerate(case.codes[sample])
        for code in row
        if code >= 0
    ]


@settings(max_examples=60, deadline=None)
@given(**sizes, min_hits=st.integers(1, 6))
def test_threshold_takes_ids_that_enough_buckets_hold(n_labels, n_active, bucket_size, seed, min_hits):
    """Retrieved are all ids with so many hits, or as many of them as fit, and nothing else."""
    case = Case(n_labels, n_active, "threshold", bucket_size=bucket_size, seed=seed, min_hits=min_hits)
    for sample in range(case.m):
        labels, retrieved, _, hits = case.parts(sample)
        frequent = {id_ for id_, count in hits.items() if count >= min_hits}
        assert set(retrieved) <= frequent
        assert len(retrieved) == min(len(frequent), case.room(labels))


@settings(max_examples=60, deadline=None)
@given(**sizes, pool=st.integers(1, 120))
def test_scores_choose_from_the_pool_of_most_hits(n_labels, n_active, bucket_size, seed, pool):
    """Retrieved are the best estimates of a pool that holds the ids of most hits."""
    case = Case(n_labels, n_active, "score", bucket_size=bucket_size, seed=seed, pool=pool)
    pool = max(pool, n_active)
    for sample in range(case.m):
        labels, retrieved, _, hits = case.parts(sample)
        assert len(retrieved) == min(len(hits), case.room(labels))
        least = sorted(hits.values(), reverse=True)[:pool][-1] if hits else 0
        sure = [id_ for id_, count in hits.items() if count > least]
        ties = [id_ for id_, count in hits.items() if count == least]
        assert all(hits[id_] >= least for id_ in retrieved)
        if not retrieved:
            continue
        worst = case.estimates(sample, retrieved).min()
        left_out = [id_ for id_ in sure if id_ not in retrieved]
        assert not left_out or case.estimates(sample, left_out).max() <= worst
        if len(sure) + len(ties) <= pool:
            everyone = np.sort(case.estimates(sample, sure + ties))[::-1]
            np.testing.assert_array_equal(
                np.sort(case.estimates(sample, retrieved))[::-1], everyone[: len(retrieved)]
            )


@pytest.mark.parametrize("sampling", STRATEGIES)
def test_scratch_is_clean_after_each_strategy(sampling):
    """A call repeated with the same random states chooses the same: nothing is left behind."""
    case = Case(100, 30, sampling, n_random=5, pool=50, min_hits=2)
    first, second = case.select(), case.select()
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("how", ["count", "score", "first"])
@settings(max_examples=30, deadline=None)
@given(n_labels=st.integers(1, 120), budget=st.integers(1, 60), seed=st.integers(0, 2**32))
def test_retrieval_within_a_budget(how, n_labels, budget, seed):
    """The ids kept are the best by count, by score, or those of the nearest buckets; alone as in a batch."""
    case = Case(n_labels, 5, "topk", seed=seed)
    given_ = {"queries": case.queries, "sketcher": case.sketcher} if how == "score" else {}
    ids, found = retrieve(case.tables, case.codes, budget=budget, how=how, **given_)
    for i in range(case.m):
        got, hits = ids[i, : found[i]].tolist(), hits_of(case.tables, case.codes[i])
        assert len(set(got)) == len(got) == min(budget, len(hits))
        if how == "count":
            assert [hits[id_] for id_ in got] == sorted(hits.values(), reverse=True)[: len(got)]
        elif how == "score" and got:
            best = np.sort(case.estimates(i, list(hits)))[::-1][: len(got)]
            np.testing.assert_array_equal(np.sort(case.estimates(i, got))[::-1], best)
        elif how == "first":
            own = hits_of(case.tables, case.codes[i][:, :1])
            assert set(got[: len(own)]) <= set(own) and (len(got) <= len(own) or set(own) <= set(got))
        alone = {"queries": case.queries[i : i + 1], "sketcher": case.sketcher} if how == "score" else {}
        one, _ = retrieve(case.tables, case.codes[i : i + 1], budget=budget, how=how, **alone)
        assert one[0, : len(got)].tolist() == got


def test_what_cannot_be_chosen_is_refused():
    """Unknown strategies, budgets of nothing and scores without sketches or queries are errors."""
    with pytest.raises(ConfigError, match=r"lsh\.sampling"):
        Case(20, 5, "best")
    case = Case(20, 5, "topk")
    with pytest.raises(UsageError, match="by 'luck'"):
        retrieve(case.tables, case.codes, budget=3, how="luck")
    with pytest.raises(UsageError, match="budget of 0"):
        retrieve(case.tables, case.codes, budget=0)
    with pytest.raises(ShapeError, match=f"these tables have {SPEC.n_buckets} buckets"):
        retrieve(case.tables, case.codes + np.int32(SPEC.n_buckets))
    with pytest.raises(UsageError, match="give both"):
        retrieve(case.tables, case.codes, budget=3, how="score")
    with pytest.raises(ShapeError, match="queries"):
        retrieve(
            case.tables, case.codes, budget=3, how="score", queries=case.queries[:2], sketcher=case.sketcher
        )
    bare = Tables.create(SPEC, 20, 6)
    with pytest.raises(UsageError, match="keep no sketches"):
        retrieve(bare, case.codes, budget=3, how="score", queries=case.queries, sketcher=case.sketcher)
    with pytest.raises(UsageError, match="Sketcher"):
        ActiveSampler(20, 5, 0, n_tables=1, n_codes=1, bucket_size=4, batch=1, sampling="score")
