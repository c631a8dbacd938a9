"""What must hold of a restored run: kernels use what a checkpoint says as places and as ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from distlsh.config.schema import Config
from distlsh.errors import CheckpointError, StoreError
from distlsh.lsh.checks import check_arrays
from distlsh.protocol.plan import Plan, Position
from distlsh.runtime.layout import all_tables


@contextmanager
def as_checkpoint_errors(path: Path) -> Iterator[None]:
    """Turn what a state that is not one of a run raises into CheckpointError."""
    try:
        yield
    except StoreError as error:
        raise CheckpointError(f"{path}: {error}; use another checkpoint") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"{path}: does not describe a run ({type(error).__name__}: {str(error)[:200]}); "
            "use another checkpoint, or the distlsh that wrote it"
        ) from error


def check_tables(config: Config, n_features: int, n_labels: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise StoreError unless the restored tables of every layer can be used as they are."""
    for one in all_tables(config, n_features, n_labels):
        check_arrays(one.arrays(arrays), one.spec, one.n_rows, one.settings.bucket_policy)


def check_position(plan: Plan, position: Position) -> None:
    """Raise ValueError unless a run of ``plan`` can go on from ``position``."""
    for first, last in position.chunks or []:
        if not 0 <= first <= last <= plan.n_train:
            raise ValueError(f"a chunk [{first}, {last}) of {plan.n_train} instances")
    counts = {
        "stage": (position.stage in ("pretrain", "train", "final"), position.stage),
        "epoch": (0 <= position.epoch <= plan.epochs, position.epoch),
        "samples": (0 <= position.samples <= plan.epochs * plan.n_train, position.samples),
        "pretrain_epoch": (0 <= position.pretrain_epoch <= plan.pretrain_epochs, position.pretrain_epoch),
        "pretrained": (0 <= position.pretrained <= plan.pretrain_epochs * plan.n_train, position.pretrained),
        "lr_scale": (0 < position.lr_scale <= 1, position.lr_scale),
    }
    for name, (good, value) in counts.items():
        if not good:
            raise ValueError(f"{name} is {value}")
