"""The run directory: what a run leaves for people and for later commands."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from distlsh.errors import CheckpointError, LockError, ResourceError, UsageError
from distlsh.folders import is_locked, locked, temporary_beside, where_all_may_replace, who_else_writes
from distlsh.model.checkpoint import is_checkpoint
from distlsh.protocol.reports import Evaluation, Report, Summary

_PUBLISHED = ".published"
_ELSEWHERE = "name another folder: run.dir, --run-dir"


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
        """Make a new run directory, which this user alone can read unless it was there before.

        UsageError if ``path`` holds a run already, others can write there, or it cannot be made.
        """
        where = path or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
        with _told(where):
            run_dir = cls(_made(where.absolute(), new=path is None))
        run_dir.check_free()
        run_dir.check_own()
        with _told(where):
            run_dir.checkpoints.mkdir(exist_ok=True)
            run_dir.logs.mkdir(exist_ok=True)
        return run_dir

    def begin(self, config: str) -> None:
        """Write ``config.yaml`` in one piece; the caller holds the lock.  UsageError as for `create`."""
        self.check_free()
        with _told(self.path):
            _write_whole(self.config, config.encode())

    def check_own(self) -> None:
        """Raise UsageError if others can write here: links and files of theirs would be followed and read.

        Nor may every user put another folder in the place of this one, or of one above it; it may be
        missing yet.  A project's folder, which its group can write, is a place to train in.
        """
        with _told(self.path):
            for path in (self.path, self.checkpoints):
                why = who_else_writes(path) if path.exists() else None
                if why is not None:
                    raise UsageError(
                        f"{path} {why}; a run writes only where nobody else does: chmod go-w {path}, "
                        "or name another folder"
                    )
            there = self.path
            while not there.parent.is_dir():
                there = there.parent
            open_to_all = where_all_may_replace(there)
        if open_to_all is not None:
            raise UsageError(
                f"{self.path} lies in {open_to_all}, where every user can put another in its place: "
                f"chmod o-w, or chmod +t, that folder, or {_ELSEWHERE}"
            )

    def check_free(self) -> None:
        """Raise UsageError if a run lies here already."""
        with _told(self.path):
            taken = self.config.exists()
        if taken:
            raise UsageError(
                f"{self.path} holds a run already; "
                f"continue it with --resume {self.path}, or name another folder"
            )

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """Open an existing run directory; CheckpointError if it is none."""
        run_dir = cls(path.absolute())
        with _told(path):
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
        with ExitStack() as stack:
            try:
                alone = stack.enter_context(locked(self.path / ".lock"))
            except LockError as error:
                raise UsageError(f"{error}, or {_ELSEWHERE}") from error
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
        with _told(self.path):
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
        try:
            _write_whole(self.summary, msgspec.json.format(msgspec.json.encode(fields), indent=2) + b"\n")
        except OSError as error:
            raise ResourceError(f"{self.summary}: cannot be written: {error.strerror}") from error


def _made(path: Path, *, new: bool) -> Path:
    """Make the folder ``path``; with ``new``, the first of ``path``, ``path-2``, ... that is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    candidate, n = path, 1
    while True:
        try:
            candidate.mkdir(mode=0o700, exist_ok=not new)
            return candidate
        except FileExistsError:
            if not new:
                raise
        n += 1
        candidate = path.with_name(f"{path.name}-{n}")


def _write_whole(path: Path, data: bytes) -> None:
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the system refuses in a run directory into UsageError, a full disk into ResourceError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        kind, advice = (
            (ResourceError, f"free some space, or {_ELSEWHERE}") if full else (UsageError, _ELSEWHERE)
        )
        where = error.filename or path
        raise kind(f"{path}: no run can be kept there ({error.strerror}: {where}); {advice}") from error
