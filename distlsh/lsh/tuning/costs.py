"""What a query costs, by a model with fixed, measured constants.

The constants are nanoseconds of one core, fitted by ``benchmarks/kernels/tuning_costs.py``.
They are fixed so that the same data and seed give the same choice on every machine: a machine that is
twice as fast at everything orders settings alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tables import table_specs
from distlsh.lsh.tuning.measure import Measured

Doubles = NDArray[np.float64]

Storage = Literal["packed", "buckets"]
"""Tables of `LSHIndex`, or of training."""

FIXED_NS = 200.0
"""A query, whatever is done with it."""


@dataclass(frozen=True)
class ReadCost:
    """Nanoseconds of a bucket looked into, an id read, a candidate scored, and a dimension of it."""

    bucket: float
    read: float
    row: float
    dim: float


_READS: dict[Storage, ReadCost] = {
    "packed": ReadCost(123.4, 0.0, 22.9, 0.291),
    "buckets": ReadCost(83.1, 4.1, 22.9, 0.291),
}


@dataclass(frozen=True)
class HashCost:
    """Nanoseconds of hashing a query: FIXED_NS + L * (per_table + per_unit * units + per_probe * P)."""

    per_table: float
    per_unit: float
    per_probe: float


_COSTS = {
    "cross_polytope": HashCost(4.7, 0.197, 24.0),
    "fast_srp": HashCost(1.5, 1.534, 40.1),
    "srp": HashCost(0.0, 0.031, 47.9),
    "sparse_srp": HashCost(0.0, 0.056, 34.1),
    "wta": HashCost(8.6, 0.0, 54.4),
    "dwta": HashCost(7.8, 0.101, 47.3),
    "l2": HashCost(14.9, 0.023, 45.4),
    "minhash": HashCost(13.2, 4.249, 0.0),
    "doph": HashCost(0.0, 38.849, 0.0),
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


def query_ns(measured: Measured, storage: Storage) -> Doubles:
    """Return f8[L, 1 + P], the nanoseconds of a query that scores every candidate."""
    spec = measured.spec
    n_tables, n_codes = measured.recall.shape
    tables, probes = np.arange(1, n_tables + 1)[:, None], np.arange(n_codes)[None, :]
    cost = _COSTS[spec.family]
    hashing = FIXED_NS + tables * (
        cost.per_table + cost.per_unit * hash_units(spec) + cost.per_probe * probes
    )
    read = _READS[storage]
    reading = read.bucket * tables * (1 + probes) + read.read * measured.reads
    scoring = (read.row + read.dim * spec.n_dims) * measured.candidates
    return np.asarray(hashing + reading + scoring)


def packed_bytes(spec: HashSpec, n_rows: int) -> int:
    """Return the bytes of packed tables: a start a bucket and each id once, a table."""
    return 4 * spec.n_tables * (spec.n_buckets + 1 + n_rows)


def bucket_bytes(spec: HashSpec, n_rows: int, bucket_size: int) -> int:
    """Return the bytes of both buffers of the training tables."""
    return sum(array.padded_bytes for array in table_specs(spec, n_rows, bucket_size))
