"""How full the tables of an index are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distlsh.lsh.index.encoder import Encoder
from distlsh.lsh.index.segment import Segment


@dataclass(frozen=True)
class IndexStats:
    """What an index holds; buckets are those of all tables and segments."""

    family: str
    n_hashes: int
    n_tables: int
    n_buckets: int  # of a table
    n_components: int  # hashed; 0: the vectors themselves are
    n_rows: int  # that can be found
    n_removed: int  # that are still held
    n_segments: int
    used_share: float  # buckets that hold any
    size_mean: float  # of the buckets that hold any
    size_seen: float  # of the bucket that a row lies in, on average over rows
    size_max: int
    n_bytes: int


def measure(encoder: Encoder, segments: Sequence[Segment]) -> IndexStats:
    """Return the statistics of an index."""
    spec = encoder.spec
    sizes = np.concatenate([np.diff(segment.starts, axis=1).ravel() for segment in segments])
    used = sizes[sizes > 0]
    removed = sum(segment.n_removed for segment in segments)
    held = sum(segment.n_rows for segment in segments)
    return IndexStats(
        family=spec.family,
        n_hashes=spec.n_hashes,
        n_tables=spec.n_tables,
        n_buckets=spec.n_buckets,
        n_components=spec.n_dims if encoder.projection is not None else 0,
        n_rows=held - removed,
        n_removed=removed,
        n_segments=len(segments),
        used_share=len(used) / max(1, len(sizes)),
        size_mean=float(used.mean()) if len(used) else 0.0,
        size_seen=float(np.square(used, dtype=np.float64).sum() / used.sum()) if len(used) else 0.0,
        size_max=int(sizes.max(initial=0)),
        n_bytes=sum(segment.n_bytes for segment in segments) + encoder.n_bytes,
    )
