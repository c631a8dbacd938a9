"""What the coordinator tells whoever watches: a terminal display, a test, nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from distlsh.config.schema import Config
from distlsh.protocol.reports import Evaluation, Notice, Rehash, Report, Summary


class Observer(Protocol):
    """Gets every report as it is made; must not block for long."""

    def parsing(self, path: Path) -> None:
        """A data file is read for the first time, which takes a while."""

    def start(self, config: Config, run_dir: Path) -> None:
        """The run has a directory and begins."""

    def report(self, report: Report) -> None:
        """The run at one moment, about once a second."""

    def evaluation(self, evaluation: Evaluation) -> None:
        """An evaluation is done."""

    def rehash(self, rehash: Rehash) -> None:
        """New tables are published."""

    def notice(self, notice: Notice) -> None:
        """Something to read once."""

    def summary(self, summary: Summary) -> None:
        """The run is over."""

    def close(self) -> None:
        """Nothing follows."""


class Silent:
    """An observer that looks away."""

    def parsing(self, path: Path) -> None:
        """Do nothing."""

    def start(self, config: Config, run_dir: Path) -> None:
        """Do nothing."""

    def report(self, report: Report) -> None:
        """Do nothing."""

    def evaluation(self, evaluation: Evaluation) -> None:
        """Do nothing."""

    def rehash(self, rehash: Rehash) -> None:
        """Do nothing."""

    def notice(self, notice: Notice) -> None:
        """Do nothing."""

    def summary(self, summary: Summary) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
