from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.constants import EMPTY
from distlsh.errors import ConfigError, ShapeError, UsageError
from distlsh.lsh import Hasher, HashSpec, Tables, build, mean_row, refresh, retrieve, table_bytes, table_specs
from tests.lsh.references import Bucket

N_ROWS, N_TABLES = 40, 3
SPEC = HashSpec("fast_srp", 2, N_TABLES, 0, 8)


POLICIES = ["fifo", "reservoir", "bottom_k"]
WEIGHTS = np.random.default_rng(7).exponential(1.0, N_ROWS).astype(np.float32)


def arrays_of(spec, n_rows, bucket_size, policy="fifo"):
    specs = table_specs(spec, n_rows, bucket_size, policy=policy)
    arrays = {item.name: np.zeros(item.shape, item.dtype) for item in specs}
    arrays["tables.codes"][:] = EMPTY
    if policy == "bottom_k" and n_rows == N_ROWS:
        arrays["tables.weights"][:] = WEIGHTS  # as if inserted before: no move is then one of a weight
    return arrays


def tables_of(bucket_size=4, policy="fifo", seed=1, buffer=0):
    return Tables(arrays_of(SPEC, N_ROWS, bucket_size, policy), buffer, policy, seed)


def assert_same(tables, buckets):
    for (table, code), bucket in buckets.items():
        size = tables.sizes[table, code]
        assert tables.ids[table, code, :size].tolist() == bucket.ids
        assert tables.seen[table, code] == bucket.seen
        if tables.policy != "bottom_k":
            assert tables.unpaired[table, code] == bucket.unpaired


codes_of_row = st.lists(st.integers(-1, SPEC.n_buckets - 1), min_size=N_TABLES, max_size=N_TABLES)
steps = st.lists(
    st.lists(
        st.tuples(st.integers(0, N_ROWS - 1), codes_of_row), min_size=1, max_size=30, unique_by=lambda r: r[0]
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=60, deadline=None)
@given(steps=steps, bucket_size=st.integers(1, 6), seed=st.integers(0, 2**40))
def test_tables_are_lists_of_ids(policy, steps, bucket_size, seed):
    """Any sequence of inserts, moves and removals leaves what a Python list of each bucket holds."""
    tables = tables_of(bucket_size, policy, seed)
    buckets = {
        (t, b): Bucket((t, b), bucket_size, policy, seed, WEIGHTS)
        for t in range(N_TABLES)
        for b in range(SPEC.n_buckets)
    }
    current = np.full((N_ROWS, N_TABLES), EMPTY, np.int32)
    for step in steps:
        ids = np.array([row for row, _ in step], np.int32)
        new = np.array([codes for _, codes in step], np.int32)
        old = current[ids]
        moved = 0
        for table in range(N_TABLES):
            for i, id_ in enumerate(ids.tolist()):
                before, after = old[i, table], new[i, table]
                if before == after:
                    continue
                moved += 1
                if before >= 0:
                    buckets[table, before].remove(id_)
                if after >= 0:
                    buckets[table, after].insert(id_)
        assert tables.move(ids, old, new, WEIGHTS[ids]) == moved
        current[ids] = new
    assert_same(tables, buckets)


@pytest.mark.parametrize("policy", POLICIES)
def test_insert_and_remove_are_moves_from_and_to_nowhere(policy):
    """insert(ids, codes) equals a move from -1, remove(ids, codes) a move to -1."""
    random = np.random.default_rng(0)
    ids = random.permutation(N_ROWS).astype(np.int32)
    codes = random.integers(-1, SPEC.n_buckets, (N_ROWS, N_TABLES)).astype(np.int32)
    nowhere = np.full_like(codes, EMPTY)
    one, other = tables_of(4, policy), tables_of(4, policy)
    one.insert(ids, codes, WEIGHTS[ids])
    other.move(ids, nowhere, codes, WEIGHTS[ids])
    np.testing.assert_array_equal(one.ids, other.ids)
    one.remove(ids[:20], codes[:20])
    other.move(ids[:20], codes[:20], nowhere[:20], WEIGHTS[ids[:20]])
    for name in ("ids", "sizes", "seen", "unpaired"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), bucket_size=st.integers(1, 6))
def test_bottom_k_depends_on_no_order(seed, bucket_size):
    """Buckets keep the same ids in the same places, in whatever order they came."""
    random = np.random.default_rng(seed)
    codes = random.integers(-1, SPEC.n_buckets, (N_ROWS, N_TABLES)).astype(np.int32)
    one, other = (tables_of(bucket_size, "bottom_k", seed) for _ in range(2))
    for tables in (one, other):
        ids = random.permutation(N_ROWS).astype(np.int32)
        tables.insert(ids, codes[ids], WEIGHTS[ids])
    np.testing.assert_array_equal(one.sizes, other.sizes)
    np.testing.assert_array_equal(_padded(one), _padded(other))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), bucket_size=st.integers(1, 6))
def test_weights_that_change_move_their_ids(seed, bucket_size):
    """After moves with new weights and codes, each bucket holds its ids of the smallest new ranks."""
    random = np.random.default_rng(seed)
    tables = tables_of(bucket_size, "bottom_k", seed)
    ids = np.arange(N_ROWS, dtype=np.int32)
    old = random.integers(-1, SPEC.n_buckets, (N_ROWS, N_TABLES)).astype(np.int32)
    tables.insert(ids, old, WEIGHTS)
    some = random.permutation(N_ROWS)[:15].astype(np.int32)
    new, weights = old.copy(), WEIGHTS.copy()
    weights[some] = random.exponential(1.0, len(some))
    new[some] = random.integers(-1, SPEC.n_buckets, (len(some), N_TABLES))
    moved = tables.move(some, old[some], new[some], weights[some])
    assert moved == np.count_nonzero(old != new)
    np.testing.assert_array_equal(tables.weights, weights)
    for table in range(N_TABLES):
        for code in range(SPEC.n_buckets):
            bucket = Bucket((table, code), bucket_size, "bottom_k", seed, weights)
            members = sorted(np.flatnonzero(new[:, table] == code).tolist(), key=bucket.rank)
            held = tables.ids[table, code, : tables.sizes[table, code]].tolist()
            assert held == members[: len(held)]
            assert tables.seen[table, code] == len(members)


@pytest.mark.parametrize("bucket_size", [2, 30, 400])
def test_filling_is_inserting(bucket_size):
    """Buckets filled all at once hold what ids inserted in the same order, few at a time, leave."""
    n, random = 5000, np.random.default_rng(3)
    weights = random.exponential(1.0, n).astype(np.float32)
    weights[::7], weights[::5] = 0, 1
    codes = random.integers(-1, SPEC.n_buckets, (n, N_TABLES)).astype(np.int32)
    order = random.permutation(n).astype(np.int32)
    slow, whole, inserted = (Tables.create(SPEC, n, bucket_size, "bottom_k", 5) for _ in range(3))
    for some in np.array_split(order, 40):
        slow.insert(some, codes[some], weights[some])
    whole.codes[...] = codes
    whole.fill(order, weights)
    inserted.insert(order, codes[order], weights[order])
    for tables in (whole, inserted):
        np.testing.assert_array_equal(_padded(tables), _padded(slow))
        for name in ("sizes", "seen", "unpaired", "weights"):
            np.testing.assert_array_equal(getattr(tables, name), getattr(slow, name))
    with pytest.raises(UsageError, match="clear"):
        whole.fill(order, weights)


def test_ids_without_weight_come_last():
    """An id of weight zero is held while there is room, and no longer."""
    tables = tables_of(2, "bottom_k")
    codes = np.zeros((3, N_TABLES), np.int32)
    ids = np.arange(3, dtype=np.int32)
    tables.insert(ids[:1], codes[:1], np.zeros(1, np.float32))
    assert tables.ids[0, 0, : tables.sizes[0, 0]].tolist() == [0]
    tables.insert(ids[1:], codes[1:], np.ones(2, np.float32))
    assert sorted(tables.ids[0, 0].tolist()) == [1, 2]


def test_bottom_k_asks_for_weights():
    """Ids without weights cannot be ranked."""
    tables = tables_of(2, "bottom_k")
    with pytest.raises(UsageError, match="norms of the rows"):
        tables.insert(np.arange(1, dtype=np.int32), np.zeros((1, N_TABLES), np.int32))


def test_fifo_keeps_the_newest_in_order():
    """A full FIFO bucket drops its oldest; a removal closes the gap."""
    tables = tables_of(bucket_size=4)
    codes = np.zeros((6, N_TABLES), np.int32)
    tables.insert(np.arange(6, dtype=np.int32), codes)
    assert tables.ids[0, 0].tolist() == [2, 3, 4, 5]
    tables.remove(np.array([3, 0], np.int32), codes[:2])
    assert tables.ids[0, 0, : tables.sizes[0, 0]].tolist() == [2, 4, 5]
    assert tables.seen[0, 0] == 4


@pytest.mark.parametrize("policy", POLICIES)
def test_copy_and_clear(policy):
    """A copied buffer holds the same ids and center and goes its own way; a cleared one holds none."""
    arrays = arrays_of(SPEC, N_ROWS, 4, policy)
    one, other = Tables(arrays, 0, policy), Tables(arrays, 1, policy)
    random = np.random.default_rng(0)
    codes = random.integers(0, SPEC.n_buckets, (N_ROWS, N_TABLES)).astype(np.int32)
    one.insert(np.arange(N_ROWS, dtype=np.int32), codes, WEIGHTS)
    one.center[:] = 3.0
    other.copy_from(one)
    for name in ("ids", "sizes", "seen", "unpaired", "center"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    other.clear()
    assert other.stats().n_ids == other.stats().n_seen == 0
    assert one.stats().n_seen == N_ROWS * N_TABLES


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), n_steps=st.integers(1, 12))
def test_copies_of_what_changed_equal_whole_copies(policy, seed, n_steps):
    """However two buffers were written and copied in turn, a copy equals its source in every bucket."""
    random = np.random.default_rng(seed)
    arrays = arrays_of(SPEC, N_ROWS, 4, policy)
    buffers = [Tables(arrays, 0, policy), Tables(arrays, 1, policy)]
    codes = [np.full((N_ROWS, N_TABLES), EMPTY, np.int32) for _ in buffers]
    for _ in range(n_steps):
        source, target = random.permutation(2)
        match random.integers(3):
            case 0:
                some = random.permutation(N_ROWS)[:6].astype(np.int32)
                new = random.integers(-1, SPEC.n_buckets, (6, N_TABLES)).astype(np.int32)
                buffers[source].move(some, codes[source][some], new, WEIGHTS[some])
                codes[source][some] = new
            case 1:
                buffers[source].clear()
                codes[source][:] = EMPTY
            case _:
                buffers[target].copy_from(buffers[source])
                codes[target][:] = codes[source]
                assert_equal_buffers(*buffers)


def assert_equal_buffers(one, other):
    for name in ("sizes", "seen", "unpaired", "center"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(_padded(one), _padded(other))


def test_new_objects_begin_with_a_whole_copy():
    """A process that starts anew cannot know what differs between the buffers, and trusts nothing."""
    arrays = arrays_of(SPEC, N_ROWS, 4)
    one, other = Tables(arrays, 0), Tables(arrays, 1)
    other.copy_from(one)
    one.insert(np.arange(N_ROWS, dtype=np.int32), np.zeros((N_ROWS, N_TABLES), np.int32))
    again, other_again = Tables(arrays, 0), Tables(arrays, 1)
    other_again.copy_from(again)
    assert_equal_buffers(one, other)


def test_stats_by_hand():
    """Six ids in one bucket of four, in three tables of four buckets."""
    tables = tables_of(bucket_size=4)
    tables.insert(np.arange(6, dtype=np.int32), np.zeros((6, N_TABLES), np.int32))
    stats = tables.stats()
    assert (stats.n_ids, stats.n_seen, stats.size_max, stats.size_mean) == (12, 18, 4, 4.0)
    assert (stats.used_share, stats.full_share) == (0.25, 0.25)
    assert stats.overflow_share == pytest.approx(1 / 3)
    assert stats.histogram == (9, 0, 0, 0, 3)
    assert stats.most_seen == 6
    assert stats.effective_buckets == pytest.approx(1.0)
    assert stats.expected_hits == pytest.approx(12.0)


def test_evenness_by_hand():
    """Four ids in two buckets each of one table, all ids in one bucket of the next, none in the last."""
    tables = tables_of(bucket_size=4)
    codes = np.array([[0, 2, -1], [1, 2, -1], [0, 2, -1], [1, 2, -1]], np.int32)
    tables.insert(np.arange(4, dtype=np.int32), codes)
    stats = tables.stats()
    assert stats.effective_buckets == pytest.approx((2 + 1 + 0) / 3)
    assert stats.most_crowded == (1, 2)
    assert stats.expected_hits == pytest.approx(2 + 4)


def test_wrong_arguments_are_refused():
    """Ids or codes of the wrong shape or out of range never reach the kernels."""
    tables = tables_of()
    codes = np.zeros((2, N_TABLES), np.int32)
    with pytest.raises(ShapeError, match="these tables take"):
        tables.insert(np.arange(3, dtype=np.int32), codes)
    with pytest.raises(ShapeError, match=r"\[0, 40\)"):
        tables.insert(np.array([0, N_ROWS], np.int32), codes)
    with pytest.raises(ShapeError, match="4 buckets"):
        tables.insert(np.array([0, 1], np.int32), codes + 4)
    with pytest.raises(ConfigError, match="bucket_policy"):
        tables_of(policy="lifo")
    with pytest.raises(ShapeError, match="buffers 0 and 1"):
        tables_of(buffer=2)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("sketch", [False, True])
def test_bytes_are_known_before_they_are_allocated(policy, sketch):
    """`table_bytes` is what the arrays of created tables take."""
    tables = Tables.create(SPEC, N_ROWS, 4, policy, sketch=sketch)
    named = ("ids", "sizes", "seen", "unpaired", "center", "max_norm", "codes", "weights", "sketch")
    arrays = [array for name in named if (array := getattr(tables, name)) is not None]
    generation = 64
    taken = sum(array.nbytes for array in arrays) + generation
    assert table_bytes(SPEC, N_ROWS, 4, policy=policy, sketch=sketch) == taken


def test_memory_is_known_beforehand():
    """The specs name every array, and what to lower."""
    specs = {item.name: item for item in table_specs(SPEC, N_ROWS, 4)}
    assert specs["tables.ids"].shape == (2, N_TABLES, 4, 4)
    assert specs["tables.ids"].n_bytes == 2 * N_TABLES * 4 * 4 * 4
    assert "lsh.bucket_size" in specs["tables.ids"].lower
    assert all(item.persistent for item in specs.values())


def test_refreshed_tables_equal_built_ones():
    """Moving the rows that changed leaves every bucket with the same set of ids as building anew."""
    spec = HashSpec("fast_srp", 4, 6, 0, 24)
    random = np.random.default_rng(0)
    weights = random.standard_normal((500, 24)).astype(np.float32)
    hasher = Hasher(spec)
    arrays = arrays_of(spec, 500, 500)
    old, new = Tables(arrays, 0), Tables(arrays, 1)
    old.center[:] = mean_row(weights)
    assert build(old, hasher, weights) == 500 * 6
    rows = np.unique(random.integers(0, 500, 60)).astype(np.int32)
    weights[rows] += random.standard_normal((len(rows), 24)).astype(np.float32)
    new.copy_from(old)
    before = arrays["tables.codes"].copy()
    moved = refresh(new, hasher, weights, rows)
    assert moved == np.count_nonzero(before != arrays["tables.codes"]) > 0
    fresh = Tables(arrays_of(spec, 500, 500), 0)
    fresh.center[:] = new.center
    build(fresh, hasher, weights)
    np.testing.assert_array_equal(arrays["tables.codes"], fresh.codes)
    np.testing.assert_array_equal(np.sort(_padded(new), axis=-1), np.sort(_padded(fresh), axis=-1))


def _padded(tables):
    places = np.arange(tables.bucket_size) < tables.sizes[..., None]
    return np.where(places, tables.ids, EMPTY)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), bucket_size=st.integers(1, 8), n_codes=st.integers(1, 3))
def test_retrieved_are_the_union_of_the_buckets(seed, bucket_size, n_codes):
    """Retrieved ids are those of all buckets named, each once; -1 names none."""
    random = np.random.default_rng(seed)
    tables = tables_of(bucket_size)
    tables.insert(
        np.arange(N_ROWS, dtype=np.int32),
        random.integers(0, SPEC.n_buckets, (N_ROWS, N_TABLES)).astype(np.int32),
    )
    codes = random.integers(-1, SPEC.n_buckets, (5, N_TABLES, n_codes)).astype(np.int32)
    ids, found = retrieve(tables, codes)
    for i in range(5):
        union = set()
        for table in range(N_TABLES):
            for code in codes[i, table]:
                if code >= 0:
                    union |= set(tables.ids[table, code, : tables.sizes[table, code]].tolist())
        got = ids[i, : found[i]].tolist()
        assert len(got) == len(set(got))
        assert set(got) == union


def test_rows_are_announced_before_they_are_read():
    """Every row is announced once, before its hash: marks cleared then lose no later update."""
    spec = HashSpec("fast_srp", 4, 6, 0, 24)
    weights = np.random.default_rng(0).standard_normal((9000, 24)).astype(np.float32)
    arrays = arrays_of(spec, 9000, 64)
    tables, announced = Tables(arrays, 0), []

    def before_rows(ids):
        announced.extend(ids.tolist())
        weights[ids] *= -1

    build(tables, Hasher(spec), weights, before_rows=before_rows)
    assert announced == list(range(9000))
    np.testing.assert_array_equal(tables.codes, Hasher(spec).codes(weights))
    announced.clear()
    rows = np.arange(0, 9000, 2, dtype=np.int32)
    assert refresh(tables, Hasher(spec), weights, rows, before_rows=before_rows) > 0
    assert announced == rows.tolist()
    np.testing.assert_array_equal(tables.codes, Hasher(spec).codes(weights))


def test_full_buckets_of_built_tables_favour_no_ids():
    """A build inserts in random order: low and high ids survive overflowing buckets alike (six sigma)."""
    spec = HashSpec("fast_srp", 2, 8, 0, 24)
    weights = np.random.default_rng(0).standard_normal((4000, 24)).astype(np.float32)
    tables = Tables(arrays_of(spec, 4000, 100), 0)
    build(tables, Hasher(spec), weights)
    held = tables.ids[np.arange(100) < tables.sizes[..., None]]
    assert abs(np.mean(held < 2000) - 0.5) < 6 * 0.5 / np.sqrt(len(held))
