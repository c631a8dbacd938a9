"""Where a run could go on from while work is still in hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from distlsh.constants import PRETRAIN
from distlsh.protocol.ledger import Ledger
from distlsh.protocol.plan import Plan, Position
from distlsh.protocol.steps import Evaluate, Parallel, Refresh, Step, Train, Tune


def with_work_in_hand(position: Position, ledger: Ledger, wanted: Sequence[Step]) -> Position:
    """Return the position in the middle of an epoch's tasks; those in hand count as left.

    wanted  steps that come before more is trained
    """
    position = position.copy()
    position.chunks = [(task.first, task.last) for task in ledger.unfinished]
    position.eval_due = position.eval_due or first_evaluation(wanted)
    return position


def first_evaluation(steps: Iterable[Step | None]) -> Literal["initial", "subset"] | None:
    """Return the kind of the first evaluation among ``steps`` but the final one."""
    for step in steps:
        if isinstance(step, Evaluate) and step.kind != "final":
            return step.kind
    return None


def begun_again(plan: Plan, position: Position, step: Step | None) -> bool:
    """Tell whether a run that goes on from ``position`` begins ``step`` anew, whatever was done of it.

    After the pretraining that is all that comes before any training: a checkpoint holds none of it.
    """
    if position.stage == PRETRAIN:
        return isinstance(step, Parallel | Refresh | Tune)
    return position.stage == "train" and isinstance(step, Tune) and not (step.done or plan.deterministic)


def leave_for_later(plan: Plan, position: Position, agenda: Iterable[Step]) -> None:
    """Change ``position`` to where a run goes on that begins its step anew; ``agenda`` would follow."""
    if position.stage == PRETRAIN:
        position.tuning = plan.start().tuning
    else:
        position.eval_due = position.eval_due or first_evaluation(agenda)


def rescued(
    plan: Plan, position: Position, steps: Sequence[Step | None], *, refreshing: bool, final_saved: bool
) -> Position | None:
    """Return a position for what a failed run learned, once its children are gone.

    steps        the one in progress and those after it
    refreshing   the tables were being written
    final_saved  the checkpoint after the last step exists

    None while nothing is learned, or when all is saved already.
    """
    position = position.copy()
    if not (position.samples or position.pretrained) or (position.stage == "final" and final_saved):
        return None
    position.rebuild = position.rebuild or refreshing
    if position.stage == "final":  # what is left is an empty epoch, and what follows the last one
        position.stage, position.epoch, position.chunks = "train", plan.epochs - 1, []
        return position
    position.eval_due = position.eval_due or first_evaluation(steps)
    if position.stage == PRETRAIN:
        position.tuning = plan.start().tuning
    training = [step.ledger for step in steps if isinstance(step, Train) and step.ledger is not None]
    if training:
        position.chunks = [(task.first, task.last) for task in training[0].unfinished]
    return position
