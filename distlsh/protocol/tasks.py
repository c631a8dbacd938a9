"""The tasks of a step, numbered on from those before."""

from __future__ import annotations

from distlsh.protocol.ledger import split
from distlsh.protocol.messages import Task
from distlsh.protocol.plan import Plan, Position
from distlsh.protocol.steps import Train


def training_tasks(plan: Plan, position: Position, step: Train) -> list[Task]:
    """Return the tasks of an epoch of the training or the pretraining, or of what is left of it."""
    epoch, chunk = position.epoch, plan.chunk
    if step.pretrains:
        epoch, chunk = position.pretrain_epoch, plan.pretrain_chunk
    ranges = position.chunks
    if ranges is None:
        ranges = [(task.first, task.last) for task in split(step.name, plan.n_train, chunk)]
    first_id = _take(position, len(ranges))
    return [
        Task(
            id=first_id + i,
            kind=step.name,
            first=first,
            last=last,
            epoch=epoch,
            first_sample=epoch * plan.n_train + first,
            lr_scale=position.lr_scale,
        )
        for i, (first, last) in enumerate(ranges)
    ]


def range_tasks(position: Position, kind: str, n: int, size: int) -> list[Task]:
    """Cut [0, n) into tasks of ``size``."""
    return split(kind, n, size, epoch=position.epoch, first_id=_take(position, -(-n // size)))


def _take(position: Position, n: int) -> int:
    first, position.next_task = position.next_task, position.next_task + n
    return first
