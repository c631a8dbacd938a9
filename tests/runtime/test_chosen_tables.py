"""The segment of tables whose hash functions a run chose, on both sides."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from distlsh.config.load import parse_config
from distlsh.errors import ResourceError
from distlsh.runtime import chosen
from distlsh.runtime.chosen import AttachedTables, ChosenTables
from distlsh.runtime.layout import all_tables
from distlsh.shm.arena import Arena
from distlsh.shm.names import new_run_id, segments_of
from distlsh.shm.spec import ArraySpec

CONFIG = parse_config(
    "{data: {synth: {}}, model: {hidden: [16]}, "
    "lsh: {n_active: 8, dim: 16, n_tables: 4, n_hashes: 1, auto: {recall: 0.5}}}"
)
N_LABELS = 40


def lsh(**changes):
    return msgspec.structs.replace(CONFIG.lsh, auto=None, **changes)


@pytest.fixture
def sides():
    """The coordinator's side, and a child's over a shared arena."""
    run_id = new_run_id()
    arena = Arena.create(run_id, [ArraySpec("tables.generation", (8,), "i8")])
    maker, child = ChosenTables(CONFIG, N_LABELS, run_id), AttachedTables(CONFIG, N_LABELS, arena)
    yield maker, child
    child.detach()
    maker.close()
    arena.unlink()
    arena.close()


def test_a_child_sees_the_tables_named_last_and_the_old_segment_is_gone(sides):
    """What the maker writes is what the child reads; of two choices one segment is there."""
    maker, child = sides
    for n_tables in (4, 6):
        maker.use(lsh(n_tables=n_tables))
        child.attach(maker.message())
        maker.persistent()["tables.codes"][3, 2] = 17
        assert child.arrays["tables.codes"].shape == (N_LABELS, n_tables)
        assert child.arrays["tables.codes"][3, 2] == 17 and "tables.generation" in child.arrays
        assert np.count_nonzero(child.arrays["tables.codes"] == -1) == N_LABELS * n_tables - 1
        run_id = maker.message().segment.partition("-tables-")[0]
        assert sum(path.exists() for path in segments_of(run_id)) == 2


@pytest.mark.parametrize("had", [False, True], ids=["fresh", "with-older"])
def test_tables_that_were_replaced_before_a_child_looked_are_passed_over(sides, had):
    """A child that is slow to attach has no tables until it hears of those that took the place."""
    maker, child = sides
    if had:
        maker.use(lsh(n_tables=3))
        child.attach(maker.message())
    maker.use(lsh(n_tables=4))
    late = maker.message()
    maker.use(lsh(n_tables=5))
    child.attach(late)
    assert "tables.codes" not in child.arrays and not all_tables(child.config, 100, N_LABELS)
    child.attach(maker.message())
    assert child.arrays["tables.codes"].shape == (N_LABELS, 5)
    assert all_tables(child.config, 100, N_LABELS)[0].spec.n_tables == 5


def test_without_room_the_tables_before_stay_and_the_setting_is_named(sides, monkeypatch):
    """A choice that /dev/shm cannot hold names lsh.auto.max_bytes; nothing half-made is left."""
    maker, _ = sides
    maker.use(lsh())
    before = maker.message()

    def full(name, specs):
        raise ResourceError("no room")

    monkeypatch.setattr(chosen.Arena, "create", full)
    with pytest.raises(ResourceError, match=r"no room.*lsh\.auto\.max_bytes"):
        maker.use(lsh(n_tables=64))
    assert maker.message() == before and maker.persistent()["tables.codes"].shape == (N_LABELS, 4)
