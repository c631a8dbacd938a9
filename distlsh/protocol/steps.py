"""The steps of a run's agenda."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distlsh.constants import PRETRAIN
from distlsh.protocol.ledger import Ledger

_SHOWN = {"init": "init", "init_output": "init", "warm_start": "warm start", "warm_finish": "warm start"}


@dataclass
class Parallel:
    """The range [0, n) cut into tasks of one kind for the workers."""

    kind: str
    n: int
    size: int

    @property
    def name(self) -> str:
        return _SHOWN[self.kind]


@dataclass
class Train:
    """An epoch, or what is left of it, of the training or of the pretraining before it."""

    ledger: Ledger | None = None
    name: str = "train"

    @property
    def pretrains(self) -> bool:
        """Whether this is an epoch of the pretraining."""
        return self.name == PRETRAIN


@dataclass
class Refresh:
    """A refresh of the tables that training waits for."""

    full: bool = False
    name: str = "rehash"
    asked: bool = False
    done: bool = False


@dataclass
class Tune:
    """A choice of hash functions that training waits for; a full refresh follows."""

    name: str = "tuning"
    asked: bool = False
    done: bool = False


@dataclass
class Evaluate:
    """An evaluation by the workers."""

    kind: Literal["initial", "subset", "final"]
    name: str = "evaluate"

    @property
    def task_kind(self) -> str:
        return "evaluate_final" if self.kind == "final" else "evaluate_subset"


@dataclass
class Save:
    """A checkpoint."""

    name: str = "checkpoint"
    asked: bool = False


@dataclass
class Finish:
    """The end of the run."""

    status: str
    name: str = "finish"


Step = Parallel | Train | Refresh | Tune | Evaluate | Save | Finish
