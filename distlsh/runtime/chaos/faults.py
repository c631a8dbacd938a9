"""Which faults a chaos run injects, in which order: a function of the seed alone."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from distlsh.runtime.failpoints import COORDINATOR, COORDINATOR_POINTS, REHASHER_POINTS, WORKER_POINTS, Point
from distlsh.runtime.roles import FORK_SERVER, REHASHER, child_roles, worker_role

WORKER = "worker"

Kind = Literal["kill", "segv", "stop", "pause", "memory", "int", "term", "hup", "int twice"]
"""
kill, segv  SIGKILL, SIGSEGV
stop        SIGSTOP, for ever
pause       SIGSTOP, and SIGCONT half a second later
memory      the kernel's: the process is given no further memory; its successor, where it asks for none
int twice   SIGINT, and again before the run has ended
"""

Moment = Literal["any", "point", "starting", "resuming", "held", "after a kill"]
"""
any           wherever the process is
point         at a named point of its code
starting      while it starts in the place of one that was killed
resuming      while a killed run is resumed
held          while the coordinator is held at a point of a checkpoint or an evaluation
after a kill  right after a worker was killed, so that it is needed
"""

Part = Literal["opening", "middle", "closing"]

CHILD_KINDS: tuple[Kind, ...] = ("kill", "segv", "stop", "pause", "memory")
POINT_KINDS: tuple[Kind, ...] = ("kill", "segv", "stop", "pause")
COORDINATOR_KINDS: tuple[Kind, ...] = ("kill", "int", "term", "hup", "int twice", "pause")
ENDING_KINDS: tuple[Kind, ...] = ("kill", "int", "term", "hup", "int twice")

OPENING_POINTS = (Point.INIT, Point.PRETRAIN, Point.WARM_START, Point.TUNE)
"""Passed before training alone."""

HELD_POINTS = (Point.SAVE_BEFORE, Point.SAVE_AFTER, Point.EVALUATED)
_LONGEST_DELAY_S = 0.3
_OPENING_SHARE = _CLOSING_SHARE = 10


@dataclass(frozen=True)
class Fault:
    """One fault.

    number   from 1
    role     "worker-0", ..., "rehasher", "forkserver" or "coordinator"
    point    where the process, or with "held" the coordinator, is then
    delay_s  from the fault's turn to the strike
    """

    number: int
    role: str
    kind: Kind
    moment: Moment
    point: Point | None = None
    delay_s: float = 0.0
    part: Part = "middle"

    @property
    def group(self) -> str:
        """The role, a worker's without its number."""
        return WORKER if self.role.startswith(WORKER) else self.role

    @property
    def when(self) -> str:
        """The moment for people."""
        if self.moment == "point" and self.point is not None:
            return f"at {self.point.name}"
        if self.moment == "held" and self.point is not None:
            return f"held at {self.point.name}"
        return self.moment


@dataclass(frozen=True)
class _Cell:
    """A fault without its draws: one of ``kinds``, of one of the group's roles."""

    group: str
    kinds: tuple[Kind, ...]
    moment: Moment
    point: Point | None = None


@dataclass(frozen=True)
class Choices:
    """What there is to strike.

    memory    the kernel can be made to kill for memory
    tables    a layer has hash tables: there is a rehasher
    tunes     the run chooses its hash functions
    pretrains the first layer is pretrained
    """

    n_workers: int
    memory: bool = True
    tables: bool = True
    tunes: bool = False
    pretrains: bool = True

    @property
    def roles(self) -> list[str]:
        """The children and the fork server."""
        return [*child_roles(self.n_workers, rehasher=self.tables), FORK_SERVER]

    def has(self, cell: _Cell) -> bool:
        """Tell whether there is such a role, which comes past such a point."""
        return self.tables or (cell.group != REHASHER and cell.point is not Point.READING)


@dataclass(frozen=True)
class FaultPlan:
    """Faults in their order.

    opening, middle, closing  before training, while training, as the run ends by itself
    spare                     to follow the middle, for those that the run did not come past
    roles                     of the children and the fork server
    """

    opening: list[Fault]
    middle: list[Fault]
    closing: list[Fault]
    spare: list[Fault]
    roles: list[str]

    @property
    def faults(self) -> list[Fault]:
        """All but the spare ones."""
        return [*self.opening, *self.middle, *self.closing]


def plan_faults(seed: int, n_faults: int, choices: Choices) -> FaultPlan:
    """Return ``n_faults`` faults; of many enough, each role with each kind, and each point, at least once."""
    draw = random.Random(seed)
    opening = _opening(draw, choices)[: n_faults // _OPENING_SHARE]
    closing = _closing(draw, choices)[: n_faults // _CLOSING_SHARE]
    n_middle = n_faults - len(opening) - len(closing)
    cells, drawn = middle_cells(choices), list[Fault]()
    while len(drawn) < 2 * n_middle:
        draw.shuffle(cells)  # all once before any again
        drawn += [_drawn(draw, cell, choices) for cell in cells]
    parts = [opening, drawn[:n_middle], closing, drawn[n_middle : 2 * n_middle]]
    numbers = itertools.count(1)
    opening, middle, closing, spare = (
        [replace(fault, number=next(numbers)) for fault in part] for part in parts
    )
    return FaultPlan(opening, middle, closing, spare, choices.roles)


def middle_cells(choices: Choices) -> list[_Cell]:
    """Return every kind of fault that can meet a run in training."""
    child_kinds: tuple[Kind, ...] = CHILD_KINDS if choices.memory else CHILD_KINDS[:-1]
    cells = [_Cell(group, (kind,), "any") for group in (WORKER, REHASHER) for kind in child_kinds]
    cells += [
        _Cell(FORK_SERVER, (kind,), moment) for kind in ("kill", "stop") for moment in ("any", "after a kill")
    ]
    cells += [_Cell(COORDINATOR, (kind,), "any") for kind in COORDINATOR_KINDS]
    for group, points, kinds in (
        (WORKER, WORKER_POINTS, POINT_KINDS),
        (REHASHER, REHASHER_POINTS, POINT_KINDS),
        (COORDINATOR, COORDINATOR_POINTS, ENDING_KINDS),
    ):
        cells += [_Cell(group, kinds, "point", point) for point in points if point not in OPENING_POINTS]
    cells += [_Cell(group, ("kill", "segv"), "starting") for group in (WORKER, REHASHER)]
    cells += [_Cell(COORDINATOR, (kind,), "resuming") for kind in ("kill", "int", "term")]
    cells += [_Cell(WORKER, ("kill", "segv"), "held", point) for point in HELD_POINTS]
    cells += [_Cell(REHASHER, ("kill", "segv"), "held", point) for point in HELD_POINTS]
    return [cell for cell in cells if choices.has(cell)]


def _drawn(draw: random.Random, cell: _Cell, choices: Choices, part: Part = "middle") -> Fault:
    role = worker_role(draw.randrange(choices.n_workers)) if cell.group == WORKER else cell.group
    delay_s = round(draw.uniform(0, _LONGEST_DELAY_S), 3)
    return Fault(0, role, draw.choice(cell.kinds), cell.moment, cell.point, delay_s, part)


def _opening(draw: random.Random, choices: Choices) -> list[Fault]:
    """Return faults of a run that does not train yet: the coordinator's first, which begin it again."""
    cells = [
        _Cell(COORDINATOR, ("kill",), "point", Point.READY),
        _Cell(WORKER, POINT_KINDS, "point", Point.INIT),
        _Cell(WORKER, POINT_KINDS, "point", Point.WARM_START),
    ]
    if choices.pretrains:
        cells.insert(2, _Cell(WORKER, POINT_KINDS, "point", Point.PRETRAIN))
    if choices.tunes:
        cells.append(_Cell(REHASHER, POINT_KINDS, "point", Point.TUNE))
    return [_drawn(draw, cell, choices, "opening") for cell in cells]


def _closing(draw: random.Random, choices: Choices) -> list[Fault]:
    """Return faults of a run that has trained all: the coordinator's end it, and it is resumed."""
    cells = [
        _Cell(COORDINATOR, ("kill",), "point", Point.SAVE_AFTER),
        _Cell(WORKER, POINT_KINDS, "point", Point.EVALUATE),
        _Cell(REHASHER, POINT_KINDS, "point", Point.STOP),
        _Cell(COORDINATOR, ("kill",), "point", Point.SUMMARY),
    ]
    return [_drawn(draw, cell, choices, "closing") for cell in cells if choices.has(cell)]


def covered(faults: Sequence[Fault]) -> set[tuple[str, Kind] | Point]:
    """Return which pairs of role and kind, and which points, are among ``faults``."""
    pairs: set[tuple[str, Kind] | Point] = {(fault.group, fault.kind) for fault in faults}
    return pairs | {fault.point for fault in faults if fault.point is not None}
