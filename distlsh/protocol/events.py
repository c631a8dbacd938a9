"""What can happen to a run."""

from __future__ import annotations

from dataclasses import dataclass

from distlsh.protocol.plan import Position


@dataclass(frozen=True)
class WorkerReady:
    """A worker, new or restarted, waits for tasks."""

    worker: int


@dataclass(frozen=True)
class WorkerLost:
    """A worker died."""

    worker: int


@dataclass(frozen=True)
class TaskDone:
    """A worker acknowledged its task."""

    worker: int
    task_id: int
    upto: int | None = None  # where it was ended before its last


@dataclass(frozen=True)
class RehasherReady:
    """The rehasher waits for work."""


@dataclass(frozen=True)
class RehasherLost:
    """The rehasher died."""


@dataclass(frozen=True)
class RehashDone:
    """New tables are published."""

    changed_share: float


@dataclass(frozen=True)
class TuningDone:
    """Hash functions are chosen, and there is memory for their tables, still empty."""

    recall: float


@dataclass(frozen=True)
class RecallMeasured:
    """An evaluation found this recall of the tables."""

    recall: float


@dataclass(frozen=True)
class FallBack:
    """The numbers went bad: training shall go back to the last good checkpoint, with smaller rates."""


@dataclass(frozen=True)
class Restored:
    """The arrays are those of a checkpoint with this position; None: there was none."""

    position: Position | None


@dataclass(frozen=True)
class StopRequested:
    """Someone asked the run to save its state and end."""


@dataclass(frozen=True)
class SaveDue:
    """So much time has passed since the last save that another is due."""


@dataclass(frozen=True)
class Saved:
    """The save under way has ended; ``kept``: with a checkpoint."""

    kept: bool = True


Event = (
    WorkerReady
    | WorkerLost
    | TaskDone
    | RehasherReady
    | RehasherLost
    | RehashDone
    | TuningDone
    | RecallMeasured
    | FallBack
    | Restored
    | StopRequested
    | SaveDue
    | Saved
)
