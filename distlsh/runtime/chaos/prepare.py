"""The configuration of a chaos run, and the calm runs that it is compared with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import msgspec

from distlsh.config.load import load_config
from distlsh.config.schema import Config
from distlsh.errors import DistlshError, UsageError
from distlsh.runtime.chaos.target import Target
from distlsh.runtime.roles import REHASHER

SMALL = (
    "data.synth.n_train=20000", "data.synth.n_test=2000", "data.synth.n_features=4000",
    "data.synth.n_labels=3000", "model.hidden=[64]", "lsh.n_active=128", "lsh.dim=32", "lsh.n_tables=16",
    "lsh.n_probes=2", "pretrain.epochs=1", "train.chunk_size=512", "run.name=chaos",
)  # fmt: skip
"""Generated data of which an epoch takes a second or two."""

GAP_S = 1.0
"""Seconds of undisturbed training between two faults, on cores that nobody else uses."""

LEAST_SPREAD, LEAST_SPREAD_OF_FEW = 0.02, 0.04
"""Of P@1, over three calm runs or more, and over fewer, which say little of their spread."""

_LEAST_GAP = 512
_RATE_EPOCHS = 4
_SILENCE_S = 3600.0
_MANY = 1_000_000


class Pace(msgspec.Struct, kw_only=True):
    """How long the run is, and how often what happens in it."""

    epochs: int
    gap: int  # samples between two faults


class Calm(msgspec.Struct, kw_only=True):
    """What undisturbed runs reach.

    spread  how far a disturbed run's P@1 may be from their mean: 3 standard deviations or `LEAST_SPREAD`
    """

    p_at_1: list[float]
    total_s: list[float]

    @property
    def mean(self) -> float:
        """Mean P@1."""
        return mean(self.p_at_1)

    @property
    def spread(self) -> float:
        """How far from the mean is as usual."""
        deviation = stdev(self.p_at_1) if len(self.p_at_1) > 1 else 0.0
        least = LEAST_SPREAD if len(self.p_at_1) > 2 else LEAST_SPREAD_OF_FEW
        return max(3 * deviation, least)


def base_config(path: str | None, overrides: list[str], workers: int | None, cache: Path | None) -> Config:
    """Return the configuration to disturb: the given one, or a small generated set."""
    settings = [*(SMALL if path is None else ()), *overrides]
    if cache is not None and not any(one.startswith("data.cache_dir") for one in overrides):
        settings.append(f"data.cache_dir={cache}")
    return load_config(path, settings, workers or 2)


def check_config(config: Config) -> None:
    """Raise UsageError where nothing would say how well a run does."""
    if config.data.synth is None and config.data.test is None:
        raise UsageError(
            "data.test: not set; a disturbed run's P@1 is compared with that of others: name a file with "
            "--set data.test=FILE (a copy of some training rows will do)"
        )


def paced(config: Config, pace: Pace, seed: int) -> Config:
    """Return ``config`` with many evaluations, checkpoints and refreshes, and quick to miss a child."""
    replace = msgspec.structs.replace
    gap = pace.gap
    return replace(
        config,
        train=replace(config.train, epochs=pace.epochs, seed=seed),
        rehash=replace(config.rehash, initial_interval=max(gap // 8, 1), decay=0.0),
        eval=replace(config.eval, n_rows=min(config.eval.n_rows or 200, 200), interval=gap),
        checkpoint=replace(config.checkpoint, interval=gap, optimizer_state=True),
        run=replace(
            config.run,
            visits=True,
            max_restarts=_MANY,
            heartbeat_s=0.5,
            heartbeat_timeout_s=3.0,
            stop_timeout_s=1.0,
            report_s=0.1,
        ),
    )


class Measured(NamedTuple):
    """What a short run shows: a pace that gives each fault its time, and what there is."""

    pace: Pace
    n_train: int
    tables: bool


def find_pace(config: Config, n_faults: int, root: Path) -> Measured:
    """Train a few epochs and return how long a run of ``n_faults`` faults has to be."""
    short = paced(config, Pace(epochs=_RATE_EPOCHS, gap=_MANY), config.train.seed)
    summary = calm_run(short, root, "rate")
    n_train = round(summary["samples"] / _RATE_EPOCHS)
    wanted = (n_faults + 2) * max(_LEAST_GAP, GAP_S * _rate(summary))
    epochs = max(_RATE_EPOCHS, math.ceil(wanted / n_train))
    pace = Pace(epochs=epochs, gap=max(1, epochs * n_train // (n_faults + 2)))
    return Measured(pace, n_train, tables=REHASHER in summary["cpu_s"])


def _rate(summary: dict[str, Any]) -> float:
    """Return the samples a second of an idle machine: others may be busy now, and not in an hour."""
    own_cores = summary["samples"] * summary["workers"] / max(summary["cpu_s"]["workers"], 1e-3)
    return float(max(summary["samples_per_s"], own_cores))


def calm_run(config: Config, root: Path, name: str) -> dict[str, Any]:
    """Train undisturbed and return ``summary.json``; DistlshError where that fails."""
    target = Target(root, name)
    try:
        target.start(config)
        code = target.finish_whole(_SILENCE_S)
        if code != 0:
            raise DistlshError(f"an undisturbed run ended with code {code}; its output is in {target.output}")
        found: dict[str, Any] = json.loads((target.run_dir / "summary.json").read_text())
        return found
    finally:
        target.close()
