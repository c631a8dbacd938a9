"""Choose what the user left open: family, hashes, tables, probes; and refuse what does not go together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distlsh.errors import ConfigError
from distlsh.lsh.families import describe
from distlsh.lsh.index.metrics import METRICS
from distlsh.lsh.index.projection import Projection

ANGULAR = ("cross_polytope", "srp", "fast_srp", "sparse_srp")
"""Families whose codes depend on direction alone."""

ROTATIONAL = (*ANGULAR, "l2")
"""Families that hash principal components as well as the vectors themselves."""

ROTATED = ("cross_polytope", "fast_srp")
"""Families whose cost is that of a dense vector however few non-zeros there are."""

_WIDE = 1_024

WIDTHS = (16, 32, 60)
"""Numbers of components to choose from."""

_ENERGY = 0.7
"""Share of the variance that the hashed components are to have."""

_FLAT = 0.35
"""Below this share in the widest, vectors have no leading directions: they are hashed as they are."""

_FEW = 1_000
"""Fewer rows say nothing of directions."""

_BUCKET = 24.0
"""Ids wanted in a bucket on average."""


def check_metric(metric: str) -> None:
    """Raise ConfigError for an unknown metric."""
    if metric not in METRICS:
        raise ConfigError(f"metric is {metric!r}; it must be one of {', '.join(METRICS)}")


def choose_family(family: str, metric: str) -> str:
    """Return the family to use.  ConfigError for one that is unknown or does not serve the metric."""
    if family == "auto":
        return "minhash" if metric == "jaccard" else "cross_polytope"
    served = set(describe(family).metrics)
    if family in ANGULAR:
        # About the centre of the vectors, near ones lie in near directions.
        served.add("euclidean")
    if metric not in served:
        raise ConfigError(
            f"family {family} does not serve metric {metric!r}; it serves {', '.join(sorted(served))}"
        )
    return family


def choose_components(asked: int | None, projection: Projection, n_rows: int) -> int:
    """Return how many leading components to hash; 0: none lead, hash the vectors themselves."""
    most = len(projection.energy)
    if asked is not None:
        return min(asked, most)
    if n_rows < _FEW:
        return min(most, WIDTHS[-1])
    if projection.energy[min(most, WIDTHS[-1]) - 1] < _FLAT:
        return 0
    enough = int(np.searchsorted(projection.energy, _ENERGY)) + 1
    return min(most, next((width for width in WIDTHS if width >= enough), WIDTHS[-1]))


def sparse_components(family: str, n_dims: int) -> int:
    """Return how many components of sparse rows to hash: 0, but where rotating whole ones would take long."""
    return WIDTHS[-1] if family in ROTATED and n_dims > _WIDE else 0


def choose_hashes(family: str, n_rows: int, n_dims: int, given: dict[str, Any]) -> dict[str, Any]:
    """Return n_hashes, n_tables, n_probes and dim, chosen where ``given`` has None.

    Buckets are to hold a few dozen ids: that is about what a look into one costs.
    """
    bits = max(4.0, math.log2(max(2.0, n_rows / _BUCKET)))
    chosen = dict(given)
    if chosen["dim"] is None:
        # A hash has 2 * dim values; two hashes unless the user wants others.
        per_hash = round(bits / max(1, chosen["n_hashes"] or 2)) - 1
        chosen["dim"] = min(max(8, 1 << max(0, per_hash)), max(16, 1 << (n_dims - 1).bit_length()))
    if chosen["n_hashes"] is None:
        chosen["n_hashes"] = _n_hashes(family, bits, chosen["dim"])
    if chosen["n_tables"] is None:
        chosen["n_tables"] = 8 if family == "cross_polytope" else 24
    if chosen["n_probes"] is None:
        chosen["n_probes"] = _n_probes(family, chosen)
    return chosen


def _n_hashes(family: str, bits: float, dim: int) -> int:
    per_hash = {"cross_polytope": 1 + math.log2(dim), "wta": 3.0, "dwta": 3.0, "l2": 1.5}.get(family, 1.0)
    if family in ("minhash", "doph"):
        # A value that near sets share in half of the cases halves what is found, far ones share few.
        return max(2, round(bits / 2.5))
    return max(1, round(bits / per_hash))


def _n_probes(family: str, chosen: dict[str, Any]) -> int:
    if not describe(family).probes:
        return 0
    per_hash = {"cross_polytope": chosen["dim"], "wta": 8, "dwta": 8, "l2": 3}.get(family, 2)
    return int(min(7, per_hash ** chosen["n_hashes"] - 1))
