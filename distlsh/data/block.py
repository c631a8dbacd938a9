"""A run of consecutive rows: what readers and generators produce and stores take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

I4 = NDArray[np.int32]
I8 = NDArray[np.int64]
F4 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Consecutive rows with their entries one after another.

    label_sizes, feature_sizes   i4[n_rows], entries of each row
    labels, indices, values      i4, i4, f4; within a row ids ascend and are distinct

    The arrays may be views of scratch that the next block overwrites.
    """

    label_sizes: I4
    feature_sizes: I4
    labels: I4
    indices: I4
    values: F4

    @property
    def n_rows(self) -> int:
        return len(self.label_sizes)

    @classmethod
    def from_csr(cls, indptr: Any, indices: Any, values: Any, label_indptr: Any, labels: Any) -> RowBlock:
        """Return all rows of CSR arrays as one block."""
        return cls(
            label_sizes=np.diff(label_indptr).astype(np.int32),
            feature_sizes=np.diff(indptr).astype(np.int32),
            labels=np.ascontiguousarray(labels, np.int32),
            indices=np.ascontiguousarray(indices, np.int32),
            values=np.ascontiguousarray(values, np.float32),
        )
