"""What a checkpoint says of the hash functions, read by a later distlsh."""

from __future__ import annotations

from dataclasses import asdict

from distlsh.lsh.spec import HashSpec
from distlsh.runtime.saving import _in_todays_fields


def test_an_older_checkpoint_says_what_the_run_says_today():
    """A run may go on from a checkpoint that lacks fields which have kept their defaults since."""
    old = dict(family="srp", n_hashes=9, n_tables=4, n_probes=1, n_dims=32, dim=64, bin_size=8, seed=3)
    today = asdict(HashSpec("fast_srp", 9, 4, 1, 32, seed=3))
    assert _in_todays_fields({**old, "bucket_size": 64}) == {**today, "bucket_size": 64}
    assert _in_todays_fields({**today, "bucket_size": 64}) == {**today, "bucket_size": 64}
