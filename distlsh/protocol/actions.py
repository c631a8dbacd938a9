"""What the coordinator is told to do, in order."""

from __future__ import annotations

from dataclasses import dataclass

from distlsh.protocol.messages import Task
from distlsh.protocol.plan import Position


@dataclass(frozen=True)
class Assign:
    """Send ``task`` to ``worker``."""

    worker: int
    task: Task


@dataclass(frozen=True)
class HandBack:
    """Ask ``worker`` to end its task where it stands."""

    worker: int


@dataclass(frozen=True)
class WriteOrder:
    """Write the order of instances of ``epoch`` of the training, or of the pretraining."""

    epoch: int
    pretraining: bool = False


@dataclass(frozen=True)
class BeginRehash:
    """Ask the rehasher for new tables."""

    full: bool


@dataclass(frozen=True)
class BeginTuning:
    """Ask the rehasher which hash functions reach ``recall``; no worker is at work.

    number  of tunings before
    """

    recall: float
    number: int


@dataclass(frozen=True)
class SaveCheckpoint:
    """Begin to save all persistent arrays with this position; `Saved` ends it.

    quiet  nobody is at work until then; else workers go on, and the position leaves to be
           done, perhaps once more, what they had in hand
    last   no other save follows: the run ends
    """

    position: Position
    quiet: bool
    last: bool


@dataclass(frozen=True)
class GiveUpSave:
    """End the save under way, and leave nothing of it; `Saved` tells when, and whether it was too late."""


@dataclass(frozen=True)
class Restore:
    """Fill the arrays from the last good checkpoint, if there is one; no child is at work."""


@dataclass(frozen=True)
class BeginEvaluation:
    """Start to gather results."""

    kind: str


@dataclass(frozen=True)
class EndEvaluation:
    """Report the gathered results, if ``complete``."""

    kind: str
    complete: bool


@dataclass(frozen=True)
class Finish:
    """Stop the children; the run ends with ``status``."""

    status: str


Action = (
    Assign
    | HandBack
    | WriteOrder
    | BeginRehash
    | BeginTuning
    | SaveCheckpoint
    | GiveUpSave
    | Restore
    | BeginEvaluation
    | EndEvaluation
    | Finish
)
