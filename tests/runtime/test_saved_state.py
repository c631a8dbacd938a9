"""What a checkpoint says of the hash functions, read by a later distlsh."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from distlsh.config.schema import Config
from distlsh.lsh.spec import HashSpec
from distlsh.model.checkpoint import latest_checkpoint
from distlsh.protocol.plan import Position
from distlsh.protocol.rehash_schedule import RehashSchedule
from distlsh.runtime.run_dir import RunDir
from distlsh.runtime.saving import Saver, _in_todays_fields
from distlsh.shm.arena import Arena, arena_bytes
from distlsh.shm.spec import ArraySpec


def test_an_older_checkpoint_says_what_the_run_says_today():
    """A run may go on from a checkpoint that lacks fields which have kept their defaults since."""
    old = dict(family="srp", n_hashes=9, n_tables=4, n_probes=1, n_dims=32, dim=64, bin_size=8, seed=3)
    today = asdict(HashSpec("fast_srp", 9, 4, 1, 32, seed=3))
    assert _in_todays_fields({**old, "bucket_size": 64}) == {**today, "bucket_size": 64}
    assert _in_todays_fields({**today, "bucket_size": 64}) == {**today, "bucket_size": 64}


def test_a_whole_checkpoint_of_a_damaged_ones_name_is_whole(tmp_path):
    """After a resume from an older one the run comes by the damaged one's count again, and keeps that."""
    specs = [ArraySpec("x", (64,), "f4", True)]
    arena = Arena("plain", specs, np.zeros(arena_bytes(specs), np.uint8))
    saver = Saver(arena, RunDir(tmp_path), Config(), {})

    def saved(samples):
        position = Position(schedule=RehashSchedule(initial=9, decay=0.0, max_drift=0.5), samples=samples)
        saver.save(position, {}, live=False)(watch=lambda _: None)
        return sorted(int(path.name.removeprefix("samples-")) for path in saver.folder.iterdir())

    saved(1000)
    saved(2000)
    with (saver.folder / "samples-000000002000" / "x.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    saver.damaged.update(latest_checkpoint(tmp_path).damaged)
    assert saved(1500) == [1000, 1500]
    assert saved(2000) == [1500, 2000]
    assert saved(2500) == [2000, 2500]
