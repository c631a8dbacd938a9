"""What must hold of a restored run: kernels use what a checkpoint says as places and as ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
from numpy.typing import NDArray

from distlsh.config.schema import Config
from distlsh.constants import PRETRAIN
from distlsh.errors import CheckpointError, ConfigError, ProtocolError, StoreError
from distlsh.files import short
from distlsh.lsh.checks import check_arrays
from distlsh.model.counters import N_COUNTERS, Counter
from distlsh.protocol.messages import Number
from distlsh.protocol.plan import Plan, Position
from distlsh.protocol.tune_schedule import HIGHEST, TuneSchedule
from distlsh.runtime.layout import all_tables

_MOST = 1 << 53
"""Counts up to here are floats without loss, and may grow long without passing what messages hold."""

Figure = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
Whole = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]


class _Meter(msgspec.Struct):
    """What `Meter.restore` takes; fields with a default came later."""

    rehashes: Whole
    generation: Whole
    recall: float | None
    p_at_1: float | None
    published_samples: Number
    age_sum: tuple[Whole, Figure] | None = None
    ages: list[Figure] = []
    stale_sum: tuple[Whole, Figure] | None = None
    stale: list[Figure] = []
    rehash_s: Figure = 0.0
    rehash_cpu_s: Figure = 0.0
    repeats: tuple[Figure, Figure] | msgspec.UnsetType = msgspec.UNSET


class _Figures(msgspec.Struct):
    """What reports and the summary go on from."""

    train_s: Figure
    eval_s: Figure
    restarts: Whole
    meter: _Meter
    counters: Annotated[list[float], msgspec.Meta(max_length=N_COUNTERS)]
    pretrain_s: Figure = 0.0


@contextmanager
def as_checkpoint_errors(path: Path) -> Iterator[None]:
    """Turn what a state that is not one of a run raises into CheckpointError."""
    try:
        yield
    except (StoreError, ConfigError, ProtocolError) as error:
        raise CheckpointError(f"{path}: {short(error, 400)}; use another checkpoint") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise CheckpointError(
            f"{path}: does not describe a run ({type(error).__name__}: {short(error)}); "
            "use another checkpoint, or the distlsh that wrote it"
        ) from error


def check_tables(config: Config, n_features: int, n_labels: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise StoreError unless the restored tables of every layer can be used as they are."""
    for one in all_tables(config, n_features, n_labels):
        check_arrays(one.arrays(arrays), one.spec, one.n_rows, one.settings.bucket_policy)


def check_state(plan: Plan, position: Position, state: Mapping[str, Any], *, chosen: bool) -> None:
    """Raise ValueError unless a run of ``plan`` can go on from a checkpoint's ``position`` and ``state``.

    chosen  the hash functions of the output are there, where a run chooses them
    """
    check_position(plan, position, chosen=chosen)
    counters = msgspec.convert(state, _Figures).counters
    for at in (Counter.SAMPLES, Counter.PRETRAINED, Counter.NON_FINITE):
        if at < len(counters) and not 0 <= counters[at] <= _MOST:
            raise ValueError(f"counter {at.name} is {counters[at]}")


def check_position(plan: Plan, position: Position, *, chosen: bool) -> None:
    """Raise ValueError unless a run of ``plan`` can go on from ``position``; see `check_state`."""
    for first, last in position.chunks or []:
        if not 0 <= first <= last <= plan.n_train:
            raise ValueError(f"a chunk [{first}, {last}) of {plan.n_train} instances")
    schedule = position.schedule
    intervals = (schedule.initial, schedule.decay, schedule.max_drift)
    epochs = plan.epochs - 1 if position.stage == "train" else plan.epochs
    left = sum(last - first for first, last in position.chunks or [])
    counts = {
        "stage": (position.stage in ("pretrain", "train", "final"), position.stage),
        "epoch": (0 <= position.epoch <= epochs, position.epoch),
        "chunks' sum": (left <= plan.n_train, left),
        "samples": (0 <= position.samples <= plan.epochs * plan.n_train, position.samples),
        "pretrain_epoch": (0 <= position.pretrain_epoch <= plan.pretrain_epochs, position.pretrain_epoch),
        "pretrained": (0 <= position.pretrained <= plan.pretrain_epochs * plan.n_train, position.pretrained),
        "next_task": (0 <= position.next_task <= _MOST, position.next_task),
        "schedule": (
            intervals == (plan.rehash_initial, plan.rehash_decay, plan.rehash_max_drift),
            intervals,
        ),
        "schedule.n": (0 <= schedule.n <= _MOST, schedule.n),
        "tuning": (_can_tune(plan, position.tuning), position.tuning),
        "chosen": (chosen or _chooses_first(position), "missing"),
        "lr_scale": (0 < position.lr_scale <= 1, position.lr_scale),
        "fall_backs": (0 <= position.fall_backs <= _MOST, position.fall_backs),
    }
    for name, (good, value) in counts.items():
        if not good:
            raise ValueError(f"{name} is {value}")


def _can_tune(plan: Plan, tuning: TuneSchedule | None) -> bool:
    if tuning is None or plan.tuned_recall is None:
        return tuning is None and plan.tuned_recall is None
    recalls = [tuning.target / HIGHEST, tuning.reference or 0.0]
    asked = (tuning.goal, tuning.most) == (plan.tuned_recall, plan.most_tunings)
    return asked and 0 <= tuning.n <= _MOST and all(0 <= recall <= 1 for recall in recalls)


def _chooses_first(position: Position) -> bool:
    return position.stage == PRETRAIN or (position.tuning is not None and position.tuning.due)
