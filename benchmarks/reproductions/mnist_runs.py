"""Runs of small networks on MNIST that the reproductions share: settings in, figures out."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from distlsh.config.schema import Config, HiddenLshConfig
from distlsh.config.shares import computed_neurons
from distlsh.config.validate import validate
from distlsh.lsh.families.rotations import MIN_WIDTH, N_OWN, N_SHARED
from distlsh.protocol.reports import Summary
from distlsh.runtime.launch import run

FILES = {"train": "train-images-idx3-ubyte.gz", "test": "t10k-images-idx3-ubyte.gz"}
N_TRAIN, N_PIXELS = 60_000, 784
NONZEROS = 149.9
"""Pixels of a training image that are not 0, on average."""

METHODS = ("dense", "dropout", "winner-take-all", "random", "lsh")


@dataclass(frozen=True)
class Setting:
    """One run.

    method  "dense"; "dropout": standard dropout that keeps ``share``; "lsh": hashed layers with ``share``
            of their neurons active; "winner-take-all" and "random": the same layers, with the exact top
            or any neurons active
    lsh     the configuration's ``lsh.hidden`` group
    train   its ``train`` group
    """

    method: str
    hidden: tuple[int, ...]
    share: float = 1.0
    workers: int = 2
    epochs: int = 10
    seed: int = 1
    rehash: int = 1000
    lsh: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)

    def config(self, data: Path, cache: Path) -> Config:
        """Return the configuration of the run on the files in folder ``data``."""
        choice = {"winner-take-all": "exact", "random": "random"}.get(self.method, "tables")
        hashed = self.method not in ("dense", "dropout") and self.share < 1
        model = {
            "hidden": list(self.hidden),
            "activation": "relu",
            "normalize": False,
            "bias": True,
            "warm_start": False,
            "active_share": self.share if hashed else 1.0,
            "dropout": 1.0 - self.share if self.method == "dropout" else 0.0,
        }
        groups = {
            "data": {
                **{part: str(data / name) for part, name in FILES.items()},
                "format": "idx",
                "cache_dir": str(cache),
            },
            "model": model,
            "lsh": {"n_active": 10, "hidden": {"choice": choice, **self.lsh}},
            "train": {"epochs": self.epochs, "seed": self.seed, "skip_below": 0.0, **self.train},
            "rehash": {"initial_interval": self.rehash, "decay": 0.01, "max_drift": 1.0},
            "eval": {"n_rows": 0},
            "run": {"workers": self.workers},
        }
        config = msgspec.convert(groups, Config)
        validate(config)
        return config

    def hashing_share(self, rehashes: int) -> float:
        """Return the additions of hashing, queries and rows, over the multiply-adds of dense layers.

        A rotation of width w is w log2(w) additions and no multiplication.
        """
        if self.method != "lsh" or self.share == 1:
            return 0.0
        settings = msgspec.convert(self.lsh, HiddenLshConfig)
        n_samples = self.epochs * N_TRAIN
        additions = 0.0
        for inputs, width in zip((N_PIXELS, *self.hidden), self.hidden, strict=False):
            if computed_neurons(settings, max(1, round(self.share * width)), width) == width:
                continue  # there are no tables
            each = rotation_additions(inputs + 1, settings)
            additions += each * (n_samples + rehashes * width)
        return additions / (n_samples * dense_macs(self.hidden))


def rotation_additions(n_dims: int, settings: HiddenLshConfig) -> float:
    """Return the additions that hash one vector of ``n_dims`` by a family on fast rotations."""
    coordinates = settings.dim if settings.family == "cross_polytope" else 1
    width = max(MIN_WIDTH, 1 << (n_dims - 1).bit_length(), coordinates)
    n_rotations = -(-settings.n_tables * settings.n_hashes * coordinates // width)
    return (N_SHARED + N_OWN * n_rotations) * width * math.log2(width)


def dense_macs(hidden: tuple[int, ...]) -> float:
    """Return the multiply-adds of dense hidden layers for one sample, forward and backward."""
    first = 2 * NONZEROS * hidden[0]
    return first + 3 * sum(a * b for a, b in pairwise(hidden))


@dataclass(frozen=True)
class Outcome:
    """What came of a run: shares of 1; ``by_tables`` and ``recall`` only where there are tables."""

    setting: Setting
    accuracy: float
    by_tables: float | None
    recall: list[float] | None
    macs: float
    hashing: float
    samples_per_s: float
    train_s: float


class Runner:
    """Runs settings one after the other, in a folder that is removed afterwards.

    after  called with all outcomes so far after each run, so that a stopped script leaves a report
    """

    def __init__(self, data: Path, after: Callable[[list[Outcome]], None] | None = None) -> None:
        for name in FILES.values():
            if not (data / name).exists():
                raise SystemExit(
                    f"{data / name}: no such file; give the folder of MNIST's four files as --data"
                )
        self._data = data
        self._after = after
        self._folder = Path(tempfile.mkdtemp(prefix="distlsh-mnist-"))
        self.outcomes: list[Outcome] = []

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, setting: Setting) -> Outcome:
        """Train, evaluate on all 10,000 test images, print a line, and keep the outcome."""
        run_dir = self._folder / f"run-{len(self.outcomes)}"
        summary = run(setting.config(self._data, self._folder / "cache"), run_dir=run_dir)
        shutil.rmtree(run_dir, ignore_errors=True)
        outcome = _outcome(setting, summary)
        self.outcomes.append(outcome)
        print(row(outcome), flush=True)
        if self._after is not None:
            self._after(self.outcomes)
        return outcome


def _outcome(setting: Setting, summary: Summary) -> Outcome:
    by_tables = setting.method == "lsh"
    return Outcome(
        setting=setting,
        accuracy=summary.p_at_1 or 0.0,
        by_tables=summary.lsh_p_at_1 if by_tables else None,
        recall=summary.hidden_recall if by_tables else None,
        macs=1.0 if summary.hidden_mac_fraction is None else summary.hidden_mac_fraction,
        hashing=setting.hashing_share(summary.rehashes),
        samples_per_s=summary.samples_per_s,
        train_s=summary.train_s,
    )


HEAD = (
    "| network | method | active | workers | multiply-adds | hashing | accuracy | by tables | found | "
    "samples/s |\n|---|---|---|---|---|---|---|---|---|---|"
)


def row(outcome: Outcome) -> str:
    """Return a line of the table under `HEAD`."""
    s = outcome.setting
    found = " / ".join(f"{share:.2f}" for share in outcome.recall or []) or "-"
    by_tables = "-" if outcome.by_tables is None else f"{100 * outcome.by_tables:.2f}"
    hashing = f"{100 * outcome.hashing:.2f}%" if outcome.hashing else "-"
    network = "-".join(map(str, (N_PIXELS, *s.hidden, 10)))
    cells = (network, s.method, f"{100 * s.share:g}%", s.workers, f"{100 * outcome.macs:.2f}%", hashing)
    figures = (f"{100 * outcome.accuracy:.2f}", by_tables, found, f"{outcome.samples_per_s:,.0f}")
    return f"| {' | '.join(map(str, (*cells, *figures)))} |"
