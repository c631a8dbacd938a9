"""How often each instance was trained: proof that faults lost none (``run.visits``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from distlsh.errors import DistlshError
from distlsh.shm.spec import ArraySpec

VISITS = "runtime.visits"


class Visits(NamedTuple):
    """What the counts of a finished run say.

    least     times that the least trained instance was trained
    missing   instances trained less often than there are epochs
    repeated  trainings beyond those acknowledged
    """

    least: int
    missing: int
    repeated: int

    def check(self, epochs: int) -> None:
        """Raise DistlshError if an instance was left out of an epoch."""
        if self.missing:
            raise DistlshError(
                f"{self.missing:,} instances were not trained in every epoch (run.visits: the least trained "
                f"{self.least} times in {epochs} epochs): an error of distlsh; please report it with logs/"
            )


def visits_spec(n_train: int) -> ArraySpec:
    """Return the spec of the counts: i4[n_train], kept in checkpoints."""
    return ArraySpec(VISITS, (n_train,), "i4", persistent=True, lower="run.visits")


def visits_of(arrays: Mapping[str, NDArray[Any]], epochs: int, samples: int) -> Visits | None:
    """Return what the counts say of a run; None where nobody counted.

    epochs   that the whole run has
    samples  acknowledged, each once
    """
    if VISITS not in arrays:
        return None
    counts = arrays[VISITS]
    return Visits(
        least=int(counts.min()),
        missing=int((counts < epochs).sum()),
        repeated=int(counts.sum(dtype="i8")) - samples,
    )
