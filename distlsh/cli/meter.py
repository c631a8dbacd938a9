"""A progress bar for commands that take a while: on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


class Meter:
    """Progress bars on standard error where that is a terminal, else nothing; use it in a with statement."""

    def __init__(self) -> None:
        self._progress: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def of(self, name: str) -> Callable[[int, int], None]:
        """Return a callback (done, total) that moves the bar ``name``; a total below 1 is unknown."""
        return lambda done, total: self(name, done, total)

    def __call__(self, name: str, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        if self._progress is None:
            self._start()
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=None)
        self._progress.update(self._tasks[name], completed=done, total=total if total > 0 else None)

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._progress = Progress(console=Console(stderr=True), transient=True)
        self._progress.start()
