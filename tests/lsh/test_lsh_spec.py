from __future__ import annotations

from dataclasses import asdict

import pytest

from distlsh.config.schema import LshConfig
from distlsh.errors import ConfigError
from distlsh.lsh import HashSpec


@pytest.mark.parametrize(
    ("family", "n_hashes", "n_buckets"),
    [("fast_srp", 12, 4096), ("cross_polytope", 2, 128**2), ("dwta", 4, 8**4)],
)
def test_buckets_of_a_table(family, n_hashes, n_buckets):
    """A table has one bucket for every combination of hash values."""
    assert HashSpec(family, n_hashes, 4, 0, 100).n_buckets == n_buckets


def test_spec_of_a_configuration():
    """The lsh group of a configuration maps onto the spec by name."""
    spec = HashSpec.from_config(LshConfig(n_hashes=3, dim=32), 256, 7)
    assert (spec.family, spec.n_hashes, spec.dim, spec.n_dims, spec.seed) == ("cross_polytope", 3, 32, 256, 7)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"family": "simhash"}, "lsh.family"),
        ({"dim": 48}, "lsh.dim"),
        ({"family": "dwta", "bin_size": 6}, "lsh.bin_size"),
        ({"n_hashes": 4}, "lower lsh.n_hashes or lsh.dim"),
        ({"family": "fast_srp", "n_hashes": 25}, "lower lsh.n_hashes"),
        ({"family": "fast_srp", "n_hashes": 2, "n_probes": 4}, "lsh.n_probes"),
        ({"n_tables": 1024, "n_probes": 64}, "lsh.n_tables"),
        ({"n_tables": 0}, "lsh.n_tables"),
    ],
)
def test_impossible_specs_name_the_key_to_change(changes, said):
    """A spec that cannot be hashed with is a ConfigError that names the setting."""
    with pytest.raises(ConfigError, match=said):
        HashSpec(
            **{
                "family": "cross_polytope",
                "n_hashes": 2,
                "n_tables": 4,
                "n_probes": 1,
                "n_dims": 64,
                **changes,
            }
        )


def test_state_of_an_older_checkpoint():
    """Fields that a checkpoint lacks keep their defaults; its srp was the one on fast rotations."""
    old = dict(family="srp", n_hashes=9, n_tables=4, n_probes=1, n_dims=32, dim=64, bin_size=8, seed=3)
    spec = HashSpec.from_state({**old, "bucket_size": 64, "bucket_policy": "fifo"})
    assert spec == HashSpec("fast_srp", 9, 4, 1, 32, seed=3)
    now = HashSpec("cross_polytope", 1, 4, 1, 32, probing="step_wise")
    assert HashSpec.from_state(asdict(now)) == now
