"""Counts samples that are trained again: a worker died before it acknowledged them, or handed them back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distlsh.model.counters import Counter

_COUNTED = [Counter.SAMPLES, Counter.PRETRAINED]


class Repeats:
    """Compares what a worker has counted with what it has acknowledged.

    A worker begins nothing before its last task is acknowledged, so that at this moment its counters
    hold acknowledged samples alone; what they have more when it is lost will be done again.
    """

    def __init__(self, counters: NDArray[np.float64]) -> None:
        """Take the workers' counters (f8[n_workers, 24], shared), all of them acknowledged."""
        self._counters = counters
        self._acknowledged = self._counted()
        self._repeated = np.zeros(len(_COUNTED))

    @property
    def samples(self) -> int:
        """Samples of the training that were counted and are done again."""
        return int(self._repeated[0])

    @property
    def pretrained(self) -> int:
        """Likewise of the pretraining."""
        return int(self._repeated[1])

    def acknowledged(self, worker: int) -> None:
        """Take note that all that ``worker`` has counted is acknowledged."""
        self._acknowledged[worker] = self._counted()[worker]

    def lost(self, worker: int) -> None:
        """Take note that ``worker`` is dead or gave up its task: what is not acknowledged is done again."""
        now = self._counted()[worker]
        self._repeated += now - self._acknowledged[worker]
        self._acknowledged[worker] = now

    def all_lost(self) -> None:
        """Take note that no worker is left."""
        for worker in range(len(self._counters)):
            self.lost(worker)

    def state(self, counters: NDArray[np.float64]) -> list[float]:
        """Return what `restore` takes, for a resume that goes on from ``counters`` (f8[n_workers, 24]).

        What they hold that was not acknowledged will be done again.
        """
        in_hand = (counters[:, _COUNTED] - self._acknowledged).sum(axis=0)
        return [float(n) for n in self._repeated + in_hand]

    def restore(self, state: list[float]) -> None:
        """Go on from the counts of before a resume."""
        self._repeated = np.asarray(state, np.float64)

    def went_back(self, state: list[float] | None) -> None:
        """Go on from counters that are a checkpoint's: with what its `state` says; None: from zeros."""
        self.restore(state or [0.0] * len(_COUNTED))
        self._acknowledged = self._counted()

    def _counted(self) -> NDArray[np.float64]:
        return self._counters[:, _COUNTED].copy()
