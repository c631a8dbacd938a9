"""The numbers behind a chaos run's verdict: what docs/reliability.md gives for each promise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec

from distlsh.protocol.reports import Restart
from distlsh.runtime.chaos.prepare import Calm
from distlsh.runtime.chaos.strikes import Outcome
from distlsh.runtime.chaos.target import Life, Target
from distlsh.runtime.failpoints import COORDINATOR

_KILLED = -9


class Seconds(msgspec.Struct, kw_only=True):
    """How long something took."""

    n: int
    median_s: float
    worst_s: float


class Descriptors(msgspec.Struct, kw_only=True):
    """Open descriptors of the processes of one role that were looked at twice or more.

    grown  the most that one process had at the end more than at the beginning
    """

    role: str
    processes: int
    looks: int
    least: int
    most: int
    grown: int


class Figures(msgspec.Struct, kw_only=True):
    """Of the whole disturbed run, all its resumes together.

    children_gone      after each SIGKILL of the coordinator, until no process of the run was there
    restarts, matched  that the run published, and those of them that a fault explains
    visits_min         trainings of the instance trained least, in ``epochs`` epochs
    visits_repeated    trainings beyond those, by instance; ``repeated_samples``: by worker, as the run counts
    processes          that were looked for at the end
    """

    status: str | None
    resumes: int
    children_gone: Seconds | None
    restarts: int
    matched: int
    samples: int | None
    epochs: int
    visits_min: int | None
    visits_repeated: int | None
    repeated_samples: int | None
    p_at_1: float | None
    calm_p_at_1: float
    calm_spread: float
    processes: int
    left: list[str]
    descriptors: list[Descriptors]
    zombies: int


def figures(
    target: Target,
    summary: dict[str, Any] | None,
    outcomes: Sequence[Outcome],
    unasked: Sequence[str],
    calm: Calm,
    epochs: int,
    left: Sequence[str],
) -> Figures:
    """Return the numbers; what a summary would say is None without one."""
    said = summary or {}
    told = sum(restarts(life) for life in target.lives)
    return Figures(
        status=said.get("status"),
        resumes=len(target.lives) - 1,
        children_gone=_seconds(
            [
                one.children_gone_s
                for one in outcomes
                if one.exit_code == _KILLED and one.children_gone_s is not None
            ]
        ),
        restarts=told,
        matched=told - len(unasked),
        samples=said.get("samples"),
        epochs=epochs,
        visits_min=said.get("visits_min"),
        visits_repeated=said.get("visits_repeated"),
        repeated_samples=said.get("repeated_samples"),
        p_at_1=said.get("p_at_1"),
        calm_p_at_1=round(calm.mean, 4),
        calm_spread=round(calm.spread, 4),
        processes=len(target.pids),
        left=list(left),
        descriptors=descriptors(target),
        zombies=sum(len(life.zombies) for life in target.lives),
    )


def restarts(life: Life) -> int:
    """Return how many replaced children one process of the command has told of."""
    heard = life.ear.heard if life.ear is not None else []
    return sum(isinstance(one.metric, Restart) for one in heard)


def descriptors(target: Target) -> list[Descriptors]:
    """Return the open descriptors by role: "coordinator", "worker", "rehasher", "forkserver"."""
    series: defaultdict[str, list[list[int]]] = defaultdict(list)
    for life in target.lives:
        for (role, _), looks in life.descriptors.items():
            if len(looks) > 1:
                series[role.partition("-")[0]].append(looks)
    return [
        Descriptors(
            role=role,
            processes=len(found),
            looks=sum(map(len, found)),
            least=min(map(min, found)),
            most=max(map(max, found)),
            grown=max(map(grown, found)),
        )
        for role, found in sorted(series.items(), key=lambda one: (one[0] != COORDINATOR, one[0]))
    ]


def grown(looks: Sequence[int]) -> int:
    """Return the fewest of the last looks less those of the first: what is open for a moment is no growth.

    Of a third of the looks at either end, and of two where there are four.
    """
    some = max(1, min(2, len(looks) // 2), len(looks) // 3)
    return min(looks[-some:]) - min(looks[:some])


def _seconds(found: Sequence[float]) -> Seconds | None:
    if not found:
        return None
    return Seconds(n=len(found), median_s=round(median(found), 3), worst_s=round(max(found), 3))
