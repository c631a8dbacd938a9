"""Rows of weights as Python reads them, whichever way they are stored (`kernels.stored_rows`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

DTYPES = {"float32": "f4", "bfloat16": "u2"}
"""Names of `model.storage`, and the dtype of the arrays: a bfloat16 is kept as the bits of its uint16."""


def as_floats(rows: NDArray[Any]) -> Floats:
    """Return rows f4 or u2[m, d] as float32: float32 rows themselves, others copied."""
    if rows.dtype != np.uint16:
        return rows
    found: Floats = np.left_shift(rows, 16, dtype=np.uint32).view(np.float32)
    return found


class HalfRows:
    """bfloat16 rows u2[n, d] that read like f4[n, d]: what is asked for is copied."""

    def __init__(self, rows: NDArray[np.uint16]) -> None:
        self._rows = rows
        self.shape = rows.shape

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, which: Any) -> Floats:
        return as_floats(self._rows[which])


def readable(rows: NDArray[Any]) -> Any:
    """Return what slices and lists of rows are read from as float32: the array itself, or `HalfRows`."""
    return HalfRows(rows) if rows.dtype == np.uint16 else rows
