"""What a run does in which order: the steps of a new run, and of one that goes on."""

from __future__ import annotations

from collections.abc import Iterable

from distlsh.constants import PRETRAIN
from distlsh.protocol.plan import Plan, Position
from distlsh.protocol.steps import Evaluate, Finish, Parallel, Refresh, Step, Train, Tune


def from_scratch(plan: Plan) -> Iterable[Step]:
    """Return the steps of a new run up to its first epoch; each epoch's end appends what follows."""
    yield Parallel("init", plan.init_parts, 1)
    if plan.pretrain_epochs:
        yield Train(name=PRETRAIN)
    yield from _after_pretraining(plan)


def _after_pretraining(plan: Plan) -> Iterable[Step]:
    yield Parallel("init_output", plan.init_parts, 1)
    if plan.warm_start:
        yield Parallel("warm_start", plan.n_train, plan.chunk)
        yield Parallel("warm_finish", plan.n_labels, plan.label_chunk)
    if plan.tables:
        yield Tune() if plan.tuned_recall is not None else Refresh(full=True, name="tables")
    if plan.eval_initial and plan.n_eval_rows:
        yield Evaluate("initial")
    yield Train()


def first_values(plan: Plan, position: Position) -> Iterable[Step]:
    """Return the steps from the first values on, of those layers that have learned nothing yet."""
    return _after_pretraining(plan) if position.pretrained else from_scratch(plan)


def resumed(plan: Plan, position: Position) -> Iterable[Step]:
    """Return the steps from the position of a checkpoint on."""
    if position.stage == PRETRAIN:
        left: list[Step] = [Train(name=PRETRAIN)] if position.pretrain_epoch < plan.pretrain_epochs else []
        return [*left, *_after_pretraining(plan)]
    if position.stage == "final":
        return [Evaluate("final"), Finish("completed")]
    evaluation: list[Step] = [Evaluate(position.eval_due)] if position.eval_due is not None else []
    if position.tuning is not None and position.tuning.due:  # the run stopped or failed before it was done
        return [Tune(), *evaluation, Train()]
    if position.tuning is not None and position.rebuild:  # chosen, but the run failed before they were filled
        return [Refresh(full=True, name="tables"), *evaluation, Train()]
    return [*evaluation, Train()]
