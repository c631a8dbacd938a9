"""The numbers that a run follows, and the place it has reached."""

from __future__ import annotations

from typing import Literal

import msgspec

from distlsh.protocol.rehash_schedule import RehashSchedule
from distlsh.protocol.tune_schedule import TuneSchedule

_EVAL_TASKS_PER_WORKER = 4


class Position(msgspec.Struct, kw_only=True):
    """Where a run is: with the arrays of a checkpoint, all that resuming needs.

    ``chunks`` are the ranges left of the epoch; None for all of it.
    """

    schedule: RehashSchedule
    stage: str = "start"  # "start", "pretrain", "train" or "final"
    epoch: int = 0
    chunks: list[tuple[int, int]] | None = None
    samples: int = 0
    pretrain_epoch: int = 0
    pretrained: int = 0  # samples of the pretraining done
    next_eval: int = 0
    eval_due: Literal["initial", "subset"] | None = None  # one that comes before more is trained
    next_checkpoint: int = 0
    next_task: int = 0
    tuning: TuneSchedule | None = None  # where hash functions are chosen by the run
    rebuild: bool = False  # a rehasher died half-way: the next refresh must be a full one
    lr_scale: float = 1.0  # of all learning rates; smaller after every return to a checkpoint
    fall_backs: int = 0  # returns to a checkpoint so far

    def copy(self) -> Position:
        """Return a copy that later steps of the run do not change."""
        return msgspec.convert(msgspec.to_builtins(self), Position)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes and intervals of a run, in samples, rows and labels."""

    n_train: int
    n_labels: int
    epochs: int
    chunk: int
    rehash_initial: int
    rehash_decay: float
    rehash_max_drift: float
    tables: bool = True
    tuned_recall: float | None = None  # goal of the output's hash functions; None: they are given
    most_tunings: int = 1
    warm_start: bool = True
    pretrain_epochs: int = 0
    pretrain_chunk: int = 4096
    deterministic: bool = False
    init_parts: int = 1
    label_chunk: int = 16_384
    eval_chunk: int = 1024  # at most
    workers: int = 1
    n_eval_rows: int = 0
    n_final_rows: int = 0
    eval_initial: bool = True
    eval_interval: int = 0
    checkpoint_interval: int = 0
    fall_back_factor: float = 0.5  # of all learning rates, at each return to a checkpoint

    def eval_size(self, n_rows: int) -> int:
        """Return the rows of an evaluation's tasks: large for BLAS, enough tasks for all workers."""
        share = -(-n_rows // (_EVAL_TASKS_PER_WORKER * self.workers))
        return max(1, min(self.eval_chunk, share))

    def start(self) -> Position:
        """Return the position of a run that has not begun."""
        schedule = RehashSchedule(
            initial=self.rehash_initial, decay=self.rehash_decay, max_drift=self.rehash_max_drift
        )
        schedule.start()
        tuning = None
        if self.tuned_recall is not None:
            tuning = TuneSchedule(goal=self.tuned_recall, most=self.most_tunings)
        return Position(
            schedule=schedule,
            next_eval=self.eval_interval,
            next_checkpoint=self.checkpoint_interval,
            tuning=tuning,
        )

    def fallen_back(self, before: Position, saved: Position | None) -> Position:
        """Return where a run at ``before`` goes on: from a checkpoint, or (None) from the first values."""
        position = saved.copy() if saved is not None else self.start()
        position.lr_scale = before.lr_scale * self.fall_back_factor
        position.fall_backs = before.fall_backs + 1
        position.next_task = max(before.next_task, position.next_task)
        position.rebuild = True  # the rehasher knows what it last wrote, not what these tables hold
        return position
