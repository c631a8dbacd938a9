from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from distlsh.config.schema import LshConfig
from distlsh.errors import ConfigError
from distlsh.lsh import Hasher, HashSpec


@pytest.mark.parametrize(
    ("family", "n_hashes", "n_buckets"),
    [("fast_srp", 12, 4096), ("cross_polytope", 2, 128**2), ("dwta", 4, 8**4), ("l2", 4, 2**16)],
)
def test_buckets_of_a_table(family, n_hashes, n_buckets):
    """A table has one bucket for every combination of hash values, or 2**code_bits where they are mixed."""
    assert HashSpec(family, n_hashes, 4, 0, 100).n_buckets == n_buckets


@pytest.mark.parametrize(
    ("changes", "n_codes"),
    [
        ({}, 5),
        ({"probe_order": "global"}, 17),
        ({"n_probes": 0, "probe_order": "global"}, 1),
        ({"family": "srp", "n_hashes": 3, "probe_order": "global"}, 8),
        ({"family": "l2", "n_hashes": 2, "probe_order": "global"}, 9),
        ({"family": "l2", "n_hashes": 2, "code_bits": 1, "n_probes": 1}, 2),
        ({"family": "minhash", "n_probes": 0}, 1),
    ],
)
def test_codes_of_a_query_in_a_table(changes, n_codes):
    """Own code and probes; for a global order four times the probes, as far as there are buckets."""
    spec = HashSpec(
        **{"family": "cross_polytope", "n_hashes": 2, "n_tables": 4, "n_probes": 4, "n_dims": 9} | changes
    )
    assert spec.n_codes == n_codes


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
        ({"n_hashes": 2.5}, "lsh.n_hashes is 2.5; it must be a whole number"),
        ({"n_tables": "4"}, "lsh.n_tables is '4'"),
        ({"family": "sparse_srp", "density": 0.0}, "lsh.density"),
        ({"family": "l2", "l2_width": -1.0}, "lsh.l2_width"),
        ({"family": "l2", "code_bits": 25}, "lower lsh.code_bits"),
        ({"family": "l2", "n_hashes": 1, "n_probes": 3}, "lsh.n_probes"),
        ({"probing": "random"}, "lsh.probing"),
        ({"probe_order": "best"}, "lsh.probe_order"),
        ({"transform": "mips"}, "lsh.transform"),
        ({"family": "minhash"}, "minhash has no probes"),
        ({"family": "doph", "n_probes": 0, "transform": "simple"}, "lsh.transform"),
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


def test_numbers_of_numpy_are_numbers():
    """A spec of NumPy's integers is the same spec, can be saved, and hashes."""
    spec = HashSpec("l2", np.int64(2), np.int32(3), 0, 9, seed=np.int64(5))
    assert spec == HashSpec("l2", 2, 3, 0, 9, seed=5)
    assert json.loads(json.dumps(asdict(spec)))["seed"] == 5
    assert Hasher(spec).codes(np.zeros((1, 9), np.float32)).shape == (1, 3)


def test_state_of_an_older_checkpoint():
    """Fields that a checkpoint lacks keep their defaults; its srp was the one on fast rotations."""
    old = dict(family="srp", n_hashes=9, n_tables=4, n_probes=1, n_dims=32, dim=64, bin_size=8, seed=3)
    spec = HashSpec.from_state({**old, "bucket_size": 64, "bucket_policy": "fifo"})
    assert spec == HashSpec("fast_srp", 9, 4, 1, 32, seed=3)
    now = HashSpec("cross_polytope", 1, 4, 1, 32, probing="step_wise")
    assert HashSpec.from_state(asdict(now)) == now
