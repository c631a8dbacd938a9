"""Learning rates as a function of the sample number alone, so that nothing has to be saved."""

from __future__ import annotations

import math

from distlsh.config.schema import PretrainConfig, TrainConfig


def lr_factor(train: TrainConfig, sample: int, total_samples: int) -> float:
    """Return the rate at ``sample`` (from 0, of ``total_samples``) over the configured rate.

    Warm-up rises linearly from 0 over the first ``warmup`` share.  After it, ``linear`` and
    ``cosine`` (Loshchilov & Hutter 2017, equation 5, one period) fall to ``final_lr``, reached at
    the end.  ``step`` multiplies by ``step_factor`` at each share ``step_at`` of the whole training.
    """
    time = min(1.0, max(0.0, sample / max(1, total_samples)))
    if time < train.warmup:
        return time / train.warmup
    after = (time - train.warmup) / (1.0 - train.warmup)
    if train.schedule == "linear":
        return 1.0 - (1.0 - train.final_lr) * after
    if train.schedule == "cosine":
        return train.final_lr + (1.0 - train.final_lr) * 0.5 * (1.0 + math.cos(math.pi * after))
    if train.schedule == "step":
        return float(train.step_factor ** sum(time >= at for at in train.step_at))
    return 1.0


def lr_at(train: TrainConfig, sample: int, total_samples: int) -> float:
    """Return the learning rate of all layers but the first; see ``lr_factor``."""
    return train.lr * lr_factor(train, sample, total_samples)


def lr_input_at(train: TrainConfig, sample: int, total_samples: int) -> float:
    """Return the learning rate of the first layer: ``lr_input``, or ``lr`` where it is null."""
    base = train.lr if train.lr_input is None else train.lr_input
    return base * lr_factor(train, sample, total_samples)


def pretrain_lr_at(pretrain: PretrainConfig, sample: int, n_train: int) -> float:
    """Return the pretraining's learning rate at ``sample``, from 0: falls linearly to 0 over all passes."""
    return pretrain.lr * max(0.0, 1.0 - sample / max(1, pretrain.epochs * n_train))
