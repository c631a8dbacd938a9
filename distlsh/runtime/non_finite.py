"""What follows a NaN or an infinity that a worker met: the run's policy (`train.on_non_finite`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from distlsh.config.schema import Config
from distlsh.constants import PRETRAIN
from distlsh.data.dataset import Dataset
from distlsh.errors import NonFiniteError
from distlsh.model.finite import DATA
from distlsh.protocol import events as ev
from distlsh.protocol.machine import RunMachine
from distlsh.protocol.messages import NonFinite
from distlsh.runtime.background import progress
from distlsh.runtime.reporting import Meter

MOST_SKIPPED = 0.01
"""Share of some ten thousand samples that may be left out; of more it is not the data that is wrong."""

_SPAN = 10_000

_LEAST = 20
"""Samples that may be left out in any case; and a tenth of fewer than a tenth of the span."""

_PATIENCE_S = 5.0
"""How long the coordinator waits for the name of what was counted."""


class Numbers:
    """Takes findings and decides: nothing, a return to a checkpoint, or the run's end."""

    def __init__(
        self,
        config: Config,
        machine: RunMachine,
        meter: Meter,
        train: Dataset,
        checkpoints: Path,
        notice: Callable[[str, str], None],
    ) -> None:
        """Take the run's parts.

        train        the instances, for their places in the file
        checkpoints  the folder that an error points to
        notice       tells people: level and text
        """
        self._config, self._machine, self._meter, self._train = config, machine, meter, train
        self._checkpoints, self._notice = checkpoints, notice
        self._policy = config.train.on_non_finite
        self._ended = False
        self._untold: NonFinite | None = None
        self._waited = False
        self._nameless_since: float | None = None
        self._said = self._span_samples = self._span_left_out = 0
        self.forget_counts()

    @property
    def stops(self) -> bool:
        """Whether a number ends, or has ended, the run: then no checkpoint is written any more."""
        return self._ended or (self._policy == "stop" and bool(self._meter.non_finite))

    def heard(self, news: NonFinite) -> ev.FallBack | None:
        """Take a worker's finding; NonFiniteError where the run shall end."""
        if self._policy == "stop":
            raise self._error(self._words(news), self._advice(news.layer))
        if self._policy == "skip" or news.layer == DATA:
            self._untold = self._untold or news
            return None
        position, most = self._machine.position, self._config.train.max_fall_backs
        if position.fall_backs >= most:
            done = f"training went back {most} times (train.max_fall_backs) and smaller rates did not help"
            raise self._error(self._words(news), f"{done}; {self._advice(news.layer)}")
        if not self._machine.falling_back:
            self._notice("warning", f"{self._words(news)}; going back to the last good checkpoint")
        return ev.FallBack()

    def check(self) -> None:
        """End a run that has counted what no worker has named: the one that did may be dead."""
        if not self.stops:
            return
        now = time.monotonic()
        self._nameless_since = self._nameless_since or now
        if now - self._nameless_since > _PATIENCE_S:
            raise self._error("a number is not finite", self._advice(""))

    def at_report(self) -> None:
        """Say what was left out since the last report; NonFiniteError where that is too much."""
        if self._policy == "stop" or self._machine.falling_back:
            return
        left_out = self._meter.non_finite
        # It is counted a moment before it is named: the next report has the name.
        self._waited = left_out > self._said and self._untold is None and not self._waited
        if not self._waited:
            self._check_share(left_out)
            self.tell()

    def tell(self) -> None:
        """Say what was left out since this was said last."""
        n, total = self._meter.non_finite - self._said, self._meter.non_finite
        if not n and self._untold is None:
            return
        text = f"left out {n:,} samples ({total:,} so far)" if n else "left out an instance"
        self._notice("warning", text + self._first("; "))
        self._said, self._untold = total, None

    def _check_share(self, left_out: int) -> None:
        samples = self._meter.trained
        n, total = left_out - self._span_left_out, samples - self._span_samples
        if n > max(_LEAST, MOST_SKIPPED * max(total, min(10 * total, _SPAN))):
            layer = self._untold.layer if self._untold is not None else ""
            text = f"{n:,} of the last {total:,} samples had to be left out{self._first(', ')}"
            raise self._error(text, self._advice(layer))
        if total >= _SPAN:
            self._span_samples, self._span_left_out = samples, left_out

    def _first(self, separator: str) -> str:
        return "" if self._untold is None else f"{separator}the first: {self._words(self._untold)}"

    def forget_counts(self) -> None:
        """Take the counters as they are now: of a run that begins, goes on or went back."""
        self._said = self._span_left_out = self._meter.non_finite
        self._span_samples = self._meter.trained

    def _words(self, news: NonFinite) -> str:
        where = place_of(self._train, news.instance)
        return f"{news.role}: {where}: layer {news.layer}: {news.what}"

    def _advice(self, layer: str) -> str:
        if layer == DATA:
            return "mend the data, or leave such samples out: --resume with --set train.on_non_finite=skip"
        group = "pretrain" if self._machine.position.stage == PRETRAIN else "train"
        scaled = group == "pretrain" or self._config.model.normalize
        scale = f" or {'model' if group == 'train' else group}.scale" if scaled else ""
        rate = getattr(self._config, group).lr * self._machine.position.lr_scale
        again = (
            " and start again"
            if self._policy == "fall_back"
            else " and start again, or let the run do it: --resume with --set train.on_non_finite=fall_back"
        )
        return f"lower {group}.lr (now {rate:g}){scale}{again}"

    def _error(self, what: str, advice: str) -> NonFiniteError:
        self._ended = True
        return NonFiniteError(
            f"{what}; after {progress(self._machine.position)}. {advice[:1].upper()}{advice[1:]}. "
            f"Checkpoints of before are in {self._checkpoints}"
        )


def place_of(train: Dataset, instance: int) -> str:
    """Say which instance of which file this is, with its line where instances and lines correspond."""
    kind = train.meta.get("format")
    line = f" (line {instance + 2})" if kind == "xc" else ""  # after the header, an instance a line
    return f"instance {instance} of {train.source}{line}"
