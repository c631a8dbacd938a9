"""How often HOGWILD's workers meet: rows of the output that two have in a batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distlsh.kernels.conflicts import enter_rows, leave_rows
from distlsh.model.counters import Counter
from distlsh.model.spec import Ids

HOLDERS = "runtime.holders"
"""Name of the shared array i4[n_labels]; there is one only where conflicts are counted."""


@dataclass(frozen=True, slots=True)
class ConflictWatch:
    """One worker's part in the count.

    holders  i4[n_labels], shared: the worker that has the row in a batch, from 1; 0 for none
    worker   this worker, from 0

    The window is a batch in flight: from when its active outputs are known until the last of
    them is stepped.  An output counts as met where another worker was in such a window with it.
    """

    holders: Ids
    worker: int

    def enter(self, active: Ids, bounds: Ids, counters: npt.NDArray[np.float64]) -> None:
        """Take note that a batch begins on these active outputs, i4[m, cap] within i4[m, 3]."""
        counters[Counter.CONFLICTS] += enter_rows(self.holders, active, bounds, self.worker + 1)
        counters[Counter.WATCHED] += int(bounds[:, 2].sum())

    def leave(self, active: Ids, bounds: Ids) -> None:
        """Take note that the batch is through."""
        leave_rows(self.holders, active, bounds, self.worker + 1)
