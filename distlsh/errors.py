"""Every exception that distlsh raises on purpose.

A message says what was found, where, and what to do about it.  ``exit_code`` is
what the commands return when the error reaches them.
"""

from __future__ import annotations

from pathlib import Path


class DistlshError(Exception):
    """Base of all distlsh errors."""

    exit_code = 1


class UsageError(DistlshError):
    """The command or call was wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration names an unknown key, or a value of the wrong type or range."""


class DataError(UsageError):
    """A data file cannot be read; names the file and, where known, the line."""

    def __init__(self, path: str | Path, what: str, line: int | None = None) -> None:
        where = f"{path}, line {line}" if line is not None else f"{path}"
        super().__init__(f"{where}: {what}")
        self.path = Path(path)
        self.line = line


class ShapeError(UsageError):
    """Arrays, a data set and a model do not fit each other."""


class NotFittedError(UsageError, ValueError, AttributeError):
    """An index was asked something before it was fitted; what scikit-learn's own error of the name is."""


class ResourceError(UsageError):
    """The machine cannot hold what was asked for; names the setting to lower."""


class StoreError(DistlshError):
    """A data store is damaged or of another version."""


class CheckpointError(DistlshError):
    """A checkpoint or run directory is missing, damaged or of another version."""

    exit_code = 2


class LockError(UsageError):
    """A file to lock cannot be opened: another user's, or a link."""


class ProtocolError(DistlshError):
    """A message, or an event of a state machine, that must not occur."""


class ChildError(DistlshError):
    """A child process failed; carries the child's own traceback."""

    def __init__(self, role: str, detail: str) -> None:
        super().__init__(f"{role} failed:\n{detail.rstrip()}")
        self.role = role
        self.detail = detail


class NonFiniteError(DistlshError):
    """A NaN or an infinity ended the run; says where it was met and what to lower."""


class RunInterrupted(DistlshError):
    """The run was asked to stop, and saved its state."""

    exit_code = 130
