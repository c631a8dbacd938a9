"""P@k of written predictions: one computation for all peers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KS = (1, 3, 5)


def precision(
    ids: NDArray[np.int32], label_indptr: NDArray[np.int64], labels: NDArray[np.int32]
) -> dict[str, Any]:
    """Return P@1, P@3 and P@5 over the rows that have labels, and how many they are.

    ids  i4[m, >= 5] of the first m rows, best first, -1 in unused places; a repeated label counts once
    """
    n_rows = len(ids)
    counts = np.diff(label_indptr[: n_rows + 1])
    row_of = np.repeat(np.arange(n_rows), counts)
    width = int(max(labels.max(initial=0), ids.max(initial=0))) + 1
    true = np.sort(row_of * width + labels[: label_indptr[n_rows]])
    keys = np.where(ids >= 0, np.arange(n_rows)[:, None] * width + ids, -1)
    at = np.searchsorted(true, keys)
    hits = (
        (at < len(true)) & (true[np.minimum(at, max(len(true) - 1, 0))] == keys) if len(true) else keys < -1
    )
    hits &= ~_repeated(ids)
    rows = counts > 0
    found = {f"p_at_{k}": float(hits[rows, :k].sum() / (k * max(rows.sum(), 1))) for k in KS}
    return {**found, "scored_rows": int(rows.sum())}


def precision_of_files(predictions: str | Path, stem: str) -> dict[str, Any]:
    """Return the precision of a file of predictions on the rows of a stem."""
    arrays = [np.load(f"{stem}.{name}.npy") for name in ("label_indptr", "labels")]
    return precision(np.load(predictions), *arrays)


def _repeated(ids: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return which places hold a label that stands before them in the same row."""
    out = np.zeros(ids.shape, bool)
    for k in range(1, ids.shape[1]):
        out[:, k] = (ids[:, :k] == ids[:, k : k + 1]).any(axis=1)
    return out
