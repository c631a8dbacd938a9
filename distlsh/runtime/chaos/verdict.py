"""What must hold after a chaos run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec

from distlsh.runtime.chaos.faults import FaultPlan
from distlsh.runtime.chaos.figures import descriptors, grown, restarts
from distlsh.runtime.chaos.prepare import Calm
from distlsh.runtime.chaos.strikes import Outcome
from distlsh.runtime.chaos.target import Target

_STRUCK_SHARE = 0.75
"""Of the faults whose turn came, when the time is over: some points are not met."""

_ROOM_SAMPLES = 64
"""Two batches, at each death of a worker and each end of the command."""

_MORE_DESCRIPTORS = 3
"""Descriptors that a process may have open for a moment: of a checkpoint, or of a child just started."""


class Check(msgspec.Struct, kw_only=True):
    """One promise, and what was found."""

    what: str
    found: str
    holds: bool


class Recovery(msgspec.Struct, kw_only=True):
    """Seconds from a strike until the role worked again."""

    role: str
    n: int
    median_s: float
    worst_s: float


def recoveries(outcomes: Sequence[Outcome]) -> list[Recovery]:
    """Return how long each group of roles took; pauses are left out, which last as long as they last."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    for one in outcomes:
        if one.again_s is None or one.kind == "pause":
            continue
        group = "worker" if one.role.startswith("worker") else one.role
        found = " found by its silence" if one.kind == "stop" and group in ("worker", "rehasher") else ""
        times["run resumed" if one.exit_code is not None else group + found].append(one.again_s)
    return [
        Recovery(role=role, n=len(found), median_s=round(median(found), 3), worst_s=round(max(found), 3))
        for role, found in sorted(times.items())
    ]


def judge(
    target: Target,
    summary: dict[str, Any] | None,
    plan: FaultPlan,
    late: bool,
    outcomes: Sequence[Outcome],
    wrong: Sequence[str],
    unasked: Sequence[str],
    calm: Calm,
    epochs: int,
    left: Sequence[str],
) -> list[Check]:
    """Return all checks.

    late  the time was over before all faults had their turn
    """
    failed = [f"fault {one.number}: {text}" for one in outcomes for text in one.wrong]
    checks = [
        _check(
            "the run completed", summary is not None and summary["status"] == "completed", _status(summary)
        ),
        _struck(plan, late, outcomes),
        _check("each fault was survived", not failed and not wrong, "; ".join([*failed, *wrong]) or "all"),
        _check("nothing died that was not struck", not unasked, "; ".join(unasked) or "nothing"),
        _check("nothing is left", not left, "; ".join(left) or "nothing"),
        *_lives(target),
    ]
    if summary is not None:
        checks += [_trained(summary, epochs), _repeats(summary, target, outcomes)]
        checks += [_accuracy(summary, calm), _counted(summary, target, outcomes)]
    return checks


def _repeats(summary: dict[str, Any], target: Target, outcomes: Sequence[Outcome]) -> Check:
    """Two counts of what was trained twice: by instance, and by worker at each death and resume."""
    by_instance, by_worker = summary["visits_repeated"], summary["repeated_samples"]
    # A count is of whole batches, the other of samples; and a checkpoint's are read one after the other.
    room = _ROOM_SAMPLES * (sum(len(one.lost) for one in outcomes) + len(target.lives))
    return _check(
        "repeated samples are counted",
        abs(by_instance - by_worker) <= room,
        f"{by_worker:,} told, {by_instance:,} seen (bound {room:,} apart)",
    )


def _check(what: str, holds: bool, found: str) -> Check:
    return Check(what=what, found=found, holds=holds)


def _status(summary: dict[str, Any] | None) -> str:
    return "no summary" if summary is None else f"{summary['status']}, {summary['samples']:,} samples"


def _struck(plan: FaultPlan, late: bool, outcomes: Sequence[Outcome]) -> Check:
    struck, wanted = sum(one.struck for one in outcomes), len(plan.faults)
    if not late:
        return _check("the faults were injected", struck >= wanted, f"{struck} of {wanted}")
    return _check(
        "the faults were injected",
        struck >= _STRUCK_SHARE * len(outcomes) > 0,
        f"{struck} of {len(outcomes)} whose turn came; the time was over before {wanted - struck} others",
    )


def _trained(summary: dict[str, Any], epochs: int) -> Check:
    least, repeated = summary.get("visits_min"), summary.get("visits_repeated")
    holds = least is not None and least >= epochs
    return _check(
        "every sample was trained in every epoch",
        holds,
        f"least trained {least} times in {epochs} epochs; {repeated} repeated",
    )


def _accuracy(summary: dict[str, Any], calm: Calm) -> Check:
    found = summary["p_at_1"]
    holds = found is not None and abs(found - calm.mean) <= calm.spread
    runs = ", ".join(f"{p:.4f}" for p in calm.p_at_1)
    return _check("P@1 is that of calm runs", holds, f"{found} against {runs} (mean +- {calm.spread:.4f})")


def _counted(summary: dict[str, Any], target: Target, outcomes: Sequence[Outcome]) -> Check:
    """The summary counts on from the last checkpoint; a child lost twice as it starts is told once."""
    told = [restarts(life) for life in target.lives]
    least, most = (told[-1] if told else 0), sum(told) + len(outcomes)
    found = summary["worker_restarts"]
    return _check(
        "restarts are counted",
        least <= found <= most,
        f"{found} in the summary; {sum(told)} told, {least} of them since the last resume",
    )


def _lives(target: Target) -> list[Check]:
    more = [
        f"{role} {pid}: {looks[0]} to {looks[-1]}"
        for life in target.lives
        for (role, pid), looks in life.descriptors.items()
        if grown(looks) > _MORE_DESCRIPTORS
    ]
    zombies = [str(pid) for life in target.lives for pid in life.zombies]
    looked = ", ".join(
        f"{one.role} {one.grown:+} ({one.looks} looks at {one.processes})" for one in descriptors(target)
    )
    return [
        _check("no process's descriptors grow", not more, "; ".join(more) or looked or "never looked at"),
        _check("no zombie", not zombies, ", ".join(zombies) or "none for longer than a second"),
    ]
