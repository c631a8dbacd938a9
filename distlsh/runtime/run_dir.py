"""The run directory: what a run leaves for people and for later commands."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from distlsh.errors import CheckpointError, ResourceError, UsageError
from distlsh.folders import is_locked, locked, temporary_beside, who_else_writes
from distlsh.model.checkpoint import is_checkpoint
from distlsh.protocol.reports import Evaluation, Report, Summary

_PUBLISHED = ".published"


class RunDir:
    """``config.yaml``, ``metrics.jsonl``, ``eval.jsonl``, ``logs/``, ``checkpoints/``, ``summary.json``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.evaluations = path / "eval.jsonl"
        self.logs = path / "logs"
        self.checkpoints = path / "checkpoints"
        self.summary = path / "summary.json"

    @classmethod
    def create(cls, path: Path | None, name: str) -> RunDir:
        """Make a new run directory; UsageError if ``path`` holds a run already, or others can write there."""
        if path is None:
            path = _free(Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}")
        run_dir = cls(path.absolute())
        run_dir.check_free()
        run_dir.checkpoints.mkdir(parents=True, exist_ok=True)
        run_dir.check_own()
        run_dir.logs.mkdir(exist_ok=True)
        return run_dir

    def check_own(self) -> None:
        """Raise UsageError if others can write here: links and files of theirs would be followed and read."""
        for path in (self.path, self.checkpoints):
            why = who_else_writes(path) if path.exists() else None
            if why is not None:
                raise UsageError(
                    f"{path} {why}; a run writes only where nobody else does: chmod go-w {path}, "
                    "or name another folder"
                )

    def check_free(self) -> None:
        """Raise UsageError if a run lies here already."""
        if self.config.exists():
            raise UsageError(
                f"{self.path} holds a run already; "
                f"continue it with --resume {self.path}, or name another folder"
            )

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """Open an existing run directory; CheckpointError if it is none."""
        run_dir = cls(path.absolute())
        if not run_dir.config.is_file():
            raise CheckpointError(f"{path} is not a run directory: it has no config.yaml")
        run_dir.check_own()
        run_dir.logs.mkdir(exist_ok=True)
        return run_dir

    def has_checkpoint(self) -> bool:
        """Tell whether anything was saved, even if it cannot be read now."""
        return any(is_checkpoint(path) for path in self.checkpoints.glob("[!.]*"))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this directory for one process; UsageError if another run writes here."""
        with locked(self.path / ".lock") as alone:
            if not alone:
                raise UsageError(f"{self.path}: another process is running this run; wait for it")
            yield

    def is_running(self) -> bool:
        """Tell whether a process is running this run."""
        return is_locked(self.path / ".lock")

    @contextmanager
    def published(self, addresses: list[str]) -> Iterator[None]:
        """Note, for as long as the run lives, where its metrics can be had; for this user's eyes alone."""
        path = self.path / _PUBLISHED
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("".join(f"{where}\n" for where in addresses))
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    def addresses(self) -> list[str]:
        """Return where the metrics of the living run can be had; UsageError if it does not run."""
        try:
            found = (self.path / _PUBLISHED).read_text().split()
        except OSError:
            found = []
        if not found or not self.is_running():
            raise UsageError(
                f"{self.path}: no run is under way here; give the directory or address of one that is"
            )
        return found

    def append(self, line: Report | Evaluation) -> None:
        """Add a line to ``metrics.jsonl`` or ``eval.jsonl``."""
        path = self.evaluations if isinstance(line, Evaluation) else self.metrics
        with path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    def write_summary(self, summary: Summary) -> None:
        """Write ``summary.json`` in one piece; ResourceError if the disk does not take it."""
        fields: dict[str, Any] = msgspec.to_builtins(summary)
        fields.pop("type", None)
        temporary = temporary_beside(self.summary)
        try:
            with temporary.open("xb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(fields), indent=2) + b"\n")
            os.replace(temporary, self.summary)
        except OSError as error:
            raise ResourceError(f"{self.summary}: cannot be written: {error.strerror}") from error


def _free(path: Path) -> Path:
    candidate, n = path, 1
    while candidate.exists():
        n += 1
        candidate = path.with_name(f"{path.name}-{n}")
    return candidate
