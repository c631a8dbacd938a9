"""How full tables are, and how evenly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class TableStats:
    """How full one buffer is; shares are of all buckets of all tables."""

    n_ids: int  # held, summed over tables
    n_seen: int  # inserted and not removed, summed over tables
    size_mean: float  # of the buckets that hold any
    size_max: int
    used_share: float  # buckets that hold any
    full_share: float  # buckets that hold as many as they can
    overflow_share: float  # of the ids seen, those that no bucket holds
    histogram: tuple[int, ...]  # place s: buckets that hold s ids; s in [0, bucket_size]
    effective_buckets: float  # exp of the entropy of the ids seen over a table's buckets; mean over tables
    most_crowded: tuple[int, int]  # table and code of the bucket that has seen most
    most_seen: int  # ids that it has seen
    expected_hits: float  # ids, repeated ones counted, in the own buckets of a query that lies as rows do

    @classmethod
    def of(cls, sizes: Ids, seen: Ids, bucket_size: int) -> TableStats:
        """Count: ``sizes`` and ``seen`` are i4[n_tables, n_buckets], of one buffer."""
        n_ids, n_seen = int(sizes.sum(dtype=np.int64)), int(seen.sum(dtype=np.int64))
        n_used = int(np.count_nonzero(sizes))
        shares = seen / np.maximum(1, seen.sum(axis=1, dtype=np.int64, keepdims=True))
        crowded = int(seen.argmax())
        return cls(
            n_ids=n_ids,
            n_seen=n_seen,
            size_mean=n_ids / max(1, n_used),
            size_max=int(sizes.max(initial=0)),
            used_share=n_used / sizes.size,
            full_share=float(np.mean(sizes == bucket_size)),
            overflow_share=(n_seen - n_ids) / max(1, n_seen),
            histogram=tuple(np.bincount(sizes.reshape(-1), minlength=bucket_size + 1).tolist()),
            effective_buckets=_effective(shares),
            most_crowded=(crowded // sizes.shape[1], crowded % sizes.shape[1]),
            most_seen=int(seen.max(initial=0)),
            expected_hits=float((shares * sizes).sum()),
        )


def _effective(shares: NDArray[np.float64]) -> float:
    """Return the mean over tables of the number of equally used buckets with the same entropy; 0 if empty."""
    terms = shares * np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    counts = np.exp(-terms.sum(axis=1))
    return float(np.where(shares.any(axis=1), counts, 0.0).mean())
