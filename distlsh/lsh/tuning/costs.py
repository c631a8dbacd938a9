"""What a query costs, by a model with fixed, measured constants.

The constants are nanoseconds of one core, fitted by ``benchmarks/kernels/tuning_costs.py``.
They are fixed so that the same data and seed give the same choice on every machine: a machine that is
twice as fast at everything orders settings alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tables import table_specs
from distlsh.lsh.tuning.measure import Measured

Doubles = NDArray[np.float64]

BUCKET_NS = 9.0
"""A bucket looked into: its size and its first ids come from memory."""
READ_NS = 2.2
"""An id read and counted."""
ROW_NS = 40.0
"""A candidate's vector fetched."""
DIM_NS = 0.11
"""A dimension of a candidate multiplied and added."""


@dataclass(frozen=True)
class HashCost:
    """Nanoseconds of hashing a query: fixed + L * (per_table + per_unit * units + per_probe * P)."""

    fixed: float
    per_table: float
    per_unit: float
    per_probe: float


_COSTS = {
    "cross_polytope": HashCost(200.0, 10.0, 0.6, 12.0),
    "fast_srp": HashCost(200.0, 5.0, 1.0, 12.0),
    "srp": HashCost(200.0, 5.0, 0.1, 12.0),
    "sparse_srp": HashCost(200.0, 5.0, 0.3, 12.0),
    "wta": HashCost(200.0, 10.0, 1.0, 12.0),
    "dwta": HashCost(200.0, 10.0, 1.0, 12.0),
    "l2": HashCost(200.0, 10.0, 0.1, 12.0),
    "minhash": HashCost(200.0, 10.0, 1.0, 0.0),
    "doph": HashCost(200.0, 10.0, 1.0, 0.0),
}


def hash_units(spec: HashSpec) -> float:
    """Return the numbers that one table's hashes look at."""
    n_dims = spec.hashed.n_dims
    size = {
        "cross_polytope": spec.dim,
        "wta": spec.bin_size,
        "dwta": spec.bin_size,
        "srp": n_dims,
        "l2": n_dims,
        "sparse_srp": n_dims * spec.density,
    }
    return spec.n_hashes * size.get(spec.family, 1)


def query_ns(measured: Measured) -> Doubles:
    """Return f8[L, 1 + P], the nanoseconds of a query that scores every candidate."""
    spec = measured.spec
    n_tables, n_codes = measured.recall.shape
    tables, probes = np.arange(1, n_tables + 1)[:, None], np.arange(n_codes)[None, :]
    cost = _COSTS[spec.family]
    hashing = cost.fixed + tables * (
        cost.per_table + cost.per_unit * hash_units(spec) + cost.per_probe * probes
    )
    reading = BUCKET_NS * tables * (1 + probes) + READ_NS * measured.reads
    return np.asarray(hashing + reading + (ROW_NS + DIM_NS * spec.n_dims) * measured.candidates)


def packed_bytes(spec: HashSpec, n_rows: int) -> int:
    """Return the bytes of packed tables: a start a bucket and each id once, a table."""
    return 4 * spec.n_tables * (spec.n_buckets + 1 + n_rows)


def bucket_bytes(spec: HashSpec, n_rows: int, bucket_size: int) -> int:
    """Return the bytes of both buffers of the training tables."""
    return sum(array.padded_bytes for array in table_specs(spec, n_rows, bucket_size))
