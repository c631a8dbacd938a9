"""What a run writes into its directory as it goes on: reports, evaluations, and a log of all it said."""

from __future__ import annotations

import time
from collections.abc import Callable

from distlsh.protocol.reports import Evaluation, Report
from distlsh.runtime.rotation import append_rotated
from distlsh.runtime.run_dir import RunDir

_LINES = 3600
"""As many seconds trained as a line stands for, over this: an hour of a line a second."""


class Journal:
    """Writes ``metrics.jsonl``, ``eval.jsonl`` and ``logs/coordinator.log``; a full disk ends no run."""

    def __init__(
        self, run_dir: RunDir, report_s: float, log_bytes: int, warn: Callable[[str, str], None]
    ) -> None:
        """Take the seconds between reports, and the bytes of a log's part; ``warn`` gets level and text."""
        self._run_dir = run_dir
        self._report_s = report_s
        self._log_bytes = log_bytes
        self._warn = warn
        self._next_line = 0.0
        self._cannot_write = False

    def report(self, report: Report, *, last: bool = False) -> None:
        """Write a report if a line is due, or if it is the last.

        A line stands for 1/3600 of the seconds trained so far, and at least for ``report_s``: an hour
        in full, then so that a day and a month take a few thousand lines more each.
        """
        now = time.monotonic()
        if last or now >= self._next_line:
            share = report.train_s / _LINES
            # Not a whole line's length where each report is a line: the next may come a moment early.
            self._next_line = now + (share if share > self._report_s else 0.0)
            self._append(report)

    def evaluation(self, evaluation: Evaluation) -> None:
        """Write an evaluation."""
        self._append(evaluation)

    def note(self, level: str, text: str) -> None:
        """Add a line to the log."""
        try:
            log_line(self._run_dir, level, text, self._log_bytes)
        except OSError as error:
            self._complain(error)

    def _append(self, line: Report | Evaluation) -> None:
        try:
            self._run_dir.append(line)
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if not self._cannot_write:
            self._cannot_write = True
            self._warn("warning", f"{error}; the run goes on without writing its metrics and its log")


def log_line(run_dir: RunDir, level: str, text: str, log_bytes: int) -> None:
    """Add a line, with date and time, to the coordinator's log."""
    line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {level}: {text}\n"
    append_rotated(run_dir.logs / "coordinator.log", line, log_bytes)
