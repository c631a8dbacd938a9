"""From the workers' counters to what a person reads."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.config.schema import Config
from distlsh.constants import PRETRAIN
from distlsh.model.counters import Counter as At
from distlsh.model.schedule import lr_at, pretrain_lr_at
from distlsh.protocol.plan import Position
from distlsh.protocol.reports import Evaluation, Rehash, Report, Tuned
from distlsh.runtime.repeats import Repeats

_RATE_WINDOW_S = 10.0
_RATED = {"train": At.SAMPLES, PRETRAIN: At.PRETRAINED}
"""What is counted a second, in the phases that train."""


@dataclass
class _Mean:
    """A mean of ever more values: a run that goes on for days must not keep them."""

    n: int = 0
    total: float = 0.0

    @classmethod
    def of(cls, state: list[float] | None, values: list[float]) -> _Mean:
        return cls(int(state[0]), state[1]) if state is not None else cls(len(values), sum(values))

    def add(self, value: float) -> None:
        self.n, self.total = self.n + 1, self.total + value


class Meter:
    """Turns counters (f8[n_workers, 24], shared) into reports; each covers the time since the last."""

    def __init__(self, counters: NDArray[np.float64], epochs: int, epoch_size: int) -> None:
        self._counters = counters
        self.repeats = Repeats(counters)
        self._epochs = epochs
        self._epoch_size = epoch_size
        self._before = counters.copy()
        self._rates: list[tuple[float, NDArray[np.float64]]] = []
        self._last_rates = [0.0] * len(counters)
        self.rehashes = 0
        self.generation = 0
        self._published_at: float | None = None
        self._published_samples = 0
        self._ages = _Mean()
        self._stale = _Mean()
        self.rehash_s = 0.0
        self.rehash_cpu_s = 0.0
        self._recall: float | None = None
        self._p_at_1: float | None = None

    def state(self, counters: NDArray[np.float64]) -> dict[str, Any]:
        """Return what `restore` takes, as JSON values, for a resume that goes on from ``counters``."""
        return {
            "rehashes": self.rehashes,
            "generation": self.generation,
            "age_sum": [self._ages.n, self._ages.total],
            "stale_sum": [self._stale.n, self._stale.total],
            "rehash_s": self.rehash_s,
            "rehash_cpu_s": self.rehash_cpu_s,
            "recall": self._recall,
            "p_at_1": self._p_at_1,
            "published_samples": self._published_samples,
            "repeats": self.repeats.state(counters),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the reports of before a resume; the tables' age counts from now."""
        self.rehashes, self.generation = state["rehashes"], state["generation"]
        # Checkpoints of before have all values, and the oldest none of the second.
        self._ages = _Mean.of(state.get("age_sum"), state.get("ages", []))
        self._stale = _Mean.of(state.get("stale_sum"), state.get("stale", []))
        self.rehash_s, self.rehash_cpu_s = state.get("rehash_s", 0.0), state.get("rehash_cpu_s", 0.0)
        self._recall, self._p_at_1 = state["recall"], state["p_at_1"]
        self._published_samples = state["published_samples"]
        if "repeats" in state:
            self.repeats.restore(state["repeats"])
        if self.generation:
            self._published_at = time.perf_counter()

    def rehashed(self, rehash: Rehash) -> None:
        """Take note of a new generation."""
        now = time.perf_counter()
        if self._published_at is not None:
            self._ages.add(now - self._published_at)
            self.rehash_s += rehash.hash_s
            self.rehash_cpu_s += rehash.cpu_s
            if not rehash.full:
                self._stale.add(rehash.changed_share)
        self.generation, self.rehashes = rehash.generation, self.rehashes + 1
        self._published_at, self._published_samples = now, rehash.samples

    def evaluated(self, evaluation: Evaluation) -> None:
        """Take note of an evaluation."""
        self._p_at_1, self._recall = evaluation.p_at_1, evaluation.table_recall_at_1

    @property
    def totals(self) -> NDArray[np.float64]:
        """Sums over the workers since the start of this process, f8[24]."""
        return np.asarray(self._counters.sum(axis=0))

    @property
    def non_finite(self) -> int:
        """Samples that were left out, since a number was not finite."""
        return int(self.totals[At.NON_FINITE])

    @property
    def trained(self) -> int:
        """Samples of the training and the pretraining so far, those that were left out included."""
        totals = self.totals
        return int(totals[At.SAMPLES] + totals[At.PRETRAINED])

    def went_back(self, state: dict[str, Any] | None, samples: int) -> None:
        """Go on from counters that are a checkpoint's: ``state`` is its `state`; None: from zeros."""
        self.repeats.went_back((state or {}).get("repeats"))
        self._before, self._rates = self._counters.copy(), []
        self._published_samples = min(self._published_samples, samples)

    @property
    def table_stale_mean(self) -> float | None:
        """Mean share of the hashed codes that a refresh found changed."""
        return self._stale.total / self._stale.n if self._stale.n else None

    @property
    def rehash_share(self) -> float | None:
        """Seconds of a core that rehashing took while training, over those of the workers' training."""
        return _share(self.rehash_cpu_s, float(self.totals[At.CPU_S])) if self.rehashes else None

    @property
    def conflict_rate(self) -> float | None:
        """Share of the watched active outputs that another worker had at the same time."""
        return _share(float(self.totals[At.CONFLICTS]), float(self.totals[At.WATCHED]))

    @property
    def table_age_s_mean(self) -> float | None:
        """Mean life of a generation in seconds, the present one included."""
        if self._published_at is None:
            return None
        present = time.perf_counter() - self._published_at
        return (self._ages.total + present) / (self._ages.n + 1)

    def report(
        self,
        *,
        time_s: float,
        train_s: float,
        phase: str,
        phase_share: float | None,
        lr: float,
        restarts: int,
    ) -> Report:
        """Return the run at this moment."""
        counters = self._counters.copy()
        delta = (counters - self._before).sum(axis=0)
        self._before = counters
        trained = int(counters[:, At.SAMPLES].sum()) - self.repeats.samples
        samples = min(trained, self._epochs * self._epoch_size)
        per_worker = self._worker_rates(counters, phase)
        rate = float(sum(per_worker))
        done = samples - (epoch := min(samples // self._epoch_size, self._epochs - 1)) * self._epoch_size
        left = self._epochs * self._epoch_size - samples
        return Report(
            time_s=round(time_s, 3),
            train_s=round(train_s, 3),
            phase=phase,
            phase_share=phase_share,
            epoch=epoch,
            epochs=self._epochs,
            samples=samples,
            epoch_done=done,
            epoch_size=self._epoch_size,
            samples_per_s=round(rate, 1),
            worker_samples_per_s=[round(r, 1) for r in per_worker],
            lr=lr,
            generation=self.generation,
            rehashes=self.rehashes,
            table_age_s=self._age_s(),
            table_age_samples=None if self._published_at is None else samples - self._published_samples,
            table_recall_at_1=self._recall,
            p_at_1=self._p_at_1,
            eta_s=left / rate if rate > 0 and phase == "train" else None,
            worker_restarts=restarts,
            non_finite_samples=int(counters[:, At.NON_FINITE].sum()),
            repeated_samples=self.repeats.samples,
            **({"loss": pretrain_loss(delta)} if phase == PRETRAIN else means(delta)),
        )

    def _age_s(self) -> float | None:
        return None if self._published_at is None else round(time.perf_counter() - self._published_at, 2)

    def _worker_rates(self, counters: NDArray[np.float64], phase: str) -> list[float]:
        now = time.perf_counter()
        if phase not in _RATED:
            self._rates = [(now, counters)]
            return [0.0] * len(counters)
        self._rates.append((now, counters))
        while now - self._rates[0][0] > _RATE_WINDOW_S and len(self._rates) > 2:
            self._rates.pop(0)
        then, before = self._rates[0]
        if now > then:
            done = (counters - before)[:, _RATED[phase]]
            self._last_rates = [float(x) for x in done / (now - then)]
        return self._last_rates  # of before, in the first report after a pause


def means(sums: NDArray[np.float64]) -> dict[str, Any]:
    """Return the means over the samples that ``sums`` (f8[24]) covers; empty without samples."""
    samples, labelled = sums[At.SAMPLES], sums[At.LABELLED]
    if samples <= 0:
        return {}
    return {
        "loss": float(sums[At.LOSS] / labelled) if labelled > 0 else None,
        "n_active_mean": float(sums[At.ACTIVE] / samples),
        "rows_updated_mean": float(sums[At.ROWS_UPDATED] / samples),
        "mac_fraction": _share(sums[At.MACS], sums[At.DENSE_MACS]),
        "hidden_mac_fraction": _share(sums[At.HASHED_MACS], sums[At.HASHED_DENSE_MACS]),
    }


def pretrain_loss(sums: NDArray[np.float64]) -> float | None:
    """Return the mean loss over the samples of the pretraining that ``sums`` (f8[24]) covers."""
    return _share(float(sums[At.PRETRAIN_LOSS]), float(sums[At.PRETRAINED]))


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0 else None


def promise(told: Tuned) -> str:
    """Say what is expected of hash functions that were chosen."""
    return (
        f"recall {told.recall:.3f} with {told.candidates:,.0f} candidates a sample, "
        f"{told.n_bytes / 2**20:,.0f} MiB, chosen in {told.tune_s:.1f} s"
    )


def pretrained(totals: NDArray[np.float64], seconds: float) -> tuple[str, str]:
    """Say how the pretraining went that took so long: a notice's level and text."""
    n, loss = totals[At.PRETRAINED], totals[At.PRETRAIN_LOSS]
    if not n:
        return "warning", "nothing to pretrain on: no label has two instances; going on without"
    return "info", f"pretrained on {n:,.0f} samples in {seconds:.1f} s, mean loss {loss / n:.3f}"


def rate_at(config: Config, position: Position, n_train: int) -> float:
    """Return the learning rate of a run at ``position``: in the pretraining, that of the pretraining."""
    if position.stage == PRETRAIN:
        return position.lr_scale * pretrain_lr_at(config.pretrain, position.pretrained, n_train)
    total = config.train.epochs * n_train
    return position.lr_scale * lr_at(config.train, min(position.samples, total - 1), total)
