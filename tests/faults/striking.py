"""Striking processes of runs of this process at exact moments, and finding them."""

from __future__ import annotations

import os
import signal
import time

import psutil
from watching import Watcher, child

from distlsh.runtime.failpoints import arm, row_of
from distlsh.shm.names import SEGMENT_DIR


def strike_at(role: str, point: int, number: int = signal.SIGKILL) -> None:
    """Have ``role`` of a run of two workers send itself a signal when it next comes past ``point``."""
    (segment,) = (p for p in SEGMENT_DIR.glob(f"distlsh-{os.getpid()}-*") if "-tables-" not in p.name)
    arm(segment, row_of(role, 2), point, number)


def fork_server() -> psutil.Process:
    """Find the fork server of this process."""
    for process in psutil.Process().children():
        forked = process.name().startswith(("worker-", "rehasher"))  # orphans, which carry its command
        if not forked and "multiprocess.forkserver" in " ".join(process.cmdline()):
            return process
    raise AssertionError("no fork server")


def until(condition, what: str, limit_s: float = 30.0):
    """Wait for ``condition`` to hold and return its value."""
    end = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.01)
    return value


class Steps(Watcher):
    """Does one thing after the other, each at the first report at which the one before is done.

    Each takes the watcher and returns whether it is done; all is done while training.
    """

    def __init__(self, *steps, phase: str = "train") -> None:
        super().__init__()
        self.steps = list(steps)
        self.phase = phase
        self.done_at: list[float] = []

    def report(self, report):
        super().report(report)
        while self.steps and (report.phase == self.phase or self.done_at) and self.steps[0](self):
            self.steps.pop(0)
            self.done_at.append(time.monotonic())

    def told(self, text: str) -> bool:
        """Tell whether a notice says ``text``."""
        return self.count(text) > 0

    def count(self, text: str) -> int:
        """Return how many notices say ``text``."""
        return sum(text in notice.text for notice in self.notices)


class OnceThere(Watcher):
    """Does something as soon as the run has its segment and sockets, before any child is there."""

    def __init__(self, do) -> None:
        super().__init__()
        self.act = do

    def notice(self, notice):
        super().notice(notice)
        if self.act is not None and "published at" in notice.text:
            act, self.act = self.act, None
            act()


def signalled(role: str, number: int = signal.SIGKILL):
    """Return a step that sends ``role`` a signal."""

    def send(watcher) -> bool:
        child(role).send_signal(number)
        return True

    return send
