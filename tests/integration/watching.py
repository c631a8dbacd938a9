"""Watching and disturbing runs."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil


class Watcher:
    """An observer that keeps everything, and does things at given sample counts."""

    def __init__(self, at: int | None = None, do=None) -> None:
        self.at, self.do = at, do
        self.reports, self.evaluations, self.rehashes, self.notices = [], [], [], []
        self.final = None
        self.run_dir = None

    def parsing(self, path):
        pass

    def start(self, config, run_dir):
        self.run_dir = Path(run_dir)

    def report(self, report):
        self.reports.append(report)
        if self.at is not None and report.phase == "train" and report.samples >= self.at:
            self.at = None
            self.do(self)

    def evaluation(self, evaluation):
        self.evaluations.append(evaluation)

    def rehash(self, rehash):
        self.rehashes.append(rehash)

    def notice(self, notice):
        self.notices.append(notice)

    def summary(self, summary):
        self.final = summary

    def close(self):
        pass


def child(role: str) -> psutil.Process:
    """Find the child with this role below this process, by its open log."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for process in psutil.Process().children(recursive=True):
            try:
                if any(f.path.endswith(f"/{role}.log") for f in process.open_files()):
                    return process
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        time.sleep(0.02)
    raise AssertionError(f"no child {role}")


def kill(role: str, number: int = signal.SIGKILL):
    """Return something for a Watcher to do: send ``role`` a signal."""
    return lambda watcher: child(role).send_signal(number)
