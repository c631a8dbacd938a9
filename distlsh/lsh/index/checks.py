"""What must hold of an index that comes from files: kernels trust its shapes, ids and places."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from distlsh.errors import StoreError
from distlsh.lsh.index.encoder import Encoder, set_bytes
from distlsh.lsh.index.metrics import METRICS
from distlsh.lsh.index.segment import Segment
from distlsh.lsh.rows import SparseRows

Array = NDArray[Any]


def check_encoder(encoder: Encoder, n_dims: int, *, sparse: bool) -> None:
    """Raise StoreError unless vectors of ``n_dims`` can be hashed and sketched as the files say."""
    if encoder.metric not in METRICS:
        raise StoreError(f"metric {encoder.metric!r} is none of {', '.join(METRICS)}")
    if not (math.isfinite(encoder.max_norm) and math.isfinite(encoder.scale) and 1 <= n_dims < 1 << 31):
        raise StoreError(f"max_norm {encoder.max_norm}, scale {encoder.scale} or n_dims {n_dims}")
    if encoder.spec.transform != "none":
        raise StoreError(f"a transform {encoder.spec.transform!r}, which an index has none of")
    _check_sets(encoder, n_dims, sparse)
    if encoder.center is not None:
        _check("center", encoder.center, (n_dims,), np.float32)
    hashed = n_dims
    if encoder.projection is not None:
        hashed += encoder.metric == "dot"
        n = encoder.projection.vectors.shape[-1] if encoder.projection.vectors.ndim else 0
        _check("projection.vectors", encoder.projection.vectors, (hashed, n), np.float32)
        _check("projection.offset", encoder.projection.offset, (n,), np.float32)
        _check("projection.energy", encoder.projection.energy, (n,), np.float64)
        hashed = min(n, encoder.spec.n_dims)
    if encoder.spec.n_dims != hashed:
        raise StoreError(f"hash functions of {encoder.spec.n_dims} dimensions for vectors of {hashed}")


def _check_sets(encoder: Encoder, n_dims: int, sparse: bool) -> None:
    if encoder.metric == "jaccard" and not sparse:
        raise StoreError("sets that are not sparse rows")
    kept_as_bits = encoder.metric == "jaccard" and encoder.projection is None
    if encoder.set_bytes != 0 and not (kept_as_bits and encoder.set_bytes == set_bytes(n_dims)):
        raise StoreError(f"sets of {n_dims} possible members as {encoder.set_bytes} bytes")


def check_segment(
    segment: Segment, number: int, encoder: Encoder, n_dims: int, ids: tuple[int, int], *, verify: bool
) -> None:
    """Raise StoreError, naming the array, unless searches, additions and removals can trust a segment.

    ids      labels lie from the first up to below the second: those of one segment behind those of another
    verify   look at all labels, ids and places too, not only at shapes and types
    """
    n, spec = len(segment.labels) if segment.labels.ndim else 0, encoder.spec
    wanted: dict[str, tuple[tuple[int, ...], DTypeLike]] = {
        "labels": ((n,), np.int64),
        "sketches": ((n, encoder.sketch_bytes[0]), np.int8),
        "details": ((n, encoder.sketch_bytes[1]), np.int8),
        "starts": ((spec.n_tables, spec.n_buckets + 1), np.int32),
        "ids": ((spec.n_tables, n), np.int32),
        "removed": ((n,), np.bool_),
    }
    for name, (shape, dtype) in wanted.items():
        _check(f"{number}.{name}", getattr(segment, name), shape, dtype)
    _check_rows(segment, number, n, n_dims)
    if verify:
        _verify(segment, number, n, *ids)


def _check_rows(segment: Segment, number: int, n: int, n_dims: int) -> None:
    rows = segment.rows
    if not isinstance(rows, SparseRows):
        _check(f"{number}.rows", rows, (n, n_dims), np.float32)
        return
    entries = len(rows.values) if rows.values.ndim else 0
    _check(f"{number}.indptr", rows.indptr, (n + 1,), np.int64)
    _check(f"{number}.indices", rows.indices, (entries,), np.int32)
    _check(f"{number}.values", rows.values, (entries,), np.float32)


def _verify(segment: Segment, number: int, n: int, first_id: int, next_id: int) -> None:
    labels = segment.labels
    if n and (labels[0] < first_id or labels[-1] >= next_id or (labels[1:] <= labels[:-1]).any()):
        raise StoreError(f"{number}.labels do not ascend between {first_id} and the next id, {next_id}")
    for table in range(len(segment.ids)):
        ids, starts = segment.ids[table], segment.starts[table]
        met = np.zeros(n, np.bool_)
        if not n or (ids.min() >= 0 and ids.max() < n):
            met[ids] = True
        if not met.all():
            raise StoreError(f"{number}.ids: table {table} does not hold each of {n} rows once")
        if starts[0] != 0 or starts[-1] != n or (starts[1:] < starts[:-1]).any():
            raise StoreError(f"{number}.starts: the buckets of table {table} are not one behind the other")
    rows = segment.rows
    if isinstance(rows, SparseRows):
        from distlsh.kernels.checks import GOOD, first_bad_row

        bad = int(first_bad_row(rows.indptr, rows.indices, 0, len(rows.indices), rows.n_dims))
        if bad != GOOD:
            raise StoreError(f"{number}.indices: row {bad} does not ascend within {rows.n_dims} columns")


def _check(name: str, array: Array, shape: tuple[int, ...], dtype: DTypeLike) -> None:
    if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
        raise StoreError(
            f"{name} is {array.dtype}{list(array.shape)}, not {np.dtype(dtype)}{list(shape)} in C order"
        )
