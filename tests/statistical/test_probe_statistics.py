"""What probing is for: buckets that hold a query's neighbours, the likelier ones first."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.lsh import Hasher, HashSpec

KINDS = {
    "cross_polytope": dict(n_hashes=2, dim=64),
    "srp": dict(n_hashes=14),
    "fast_srp": dict(n_hashes=14),
    "sparse_srp": dict(n_hashes=14),
    "wta": dict(n_hashes=4),
    "l2": dict(n_hashes=6, l2_width=0.9),
}


def found(family, noise, **changes):
    """Share of 3,000 unit vectors whose code in some table is among their noisy copy's probes."""
    random = np.random.default_rng(7)
    rows = random.standard_normal((3000, 128)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    near = rows + noise * random.standard_normal(rows.shape).astype(np.float32) / np.float32(np.sqrt(128))
    fields = {"family": family, "n_tables": 10, "n_probes": 4, "n_dims": 128, **KINDS[family], **changes}
    hasher = Hasher(HashSpec(**fields))
    hits = hasher.probes(near.astype(np.float32)) == hasher.codes(rows)[:, :, None]
    return hits.any(axis=(1, 2)).mean()


@pytest.mark.parametrize("family", sorted(KINDS))
def test_probes_find_more_and_by_distance_more_than_by_steps(family):
    """At the same number of buckets: no probes < step-wise < query-directed."""
    shares = [found(family, 0.7, n_probes=0)]
    shares += [found(family, 0.7, probing=probing) for probing in ("step_wise", "query_directed")]
    assert shares[1] > shares[0] + 0.05
    assert shares[2] > shares[1]


@pytest.mark.parametrize("family", sorted(KINDS))
def test_a_global_order_finds_no_less(family):
    """Spending the probes over all tables finds as much, to 1% of the vectors, for equal reads."""
    share = found(family, 0.8, probe_order="global")
    assert share > found(family, 0.8) - 0.01
    if family == "srp":
        assert share > found(family, 0.8) + 0.01
