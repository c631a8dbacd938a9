"""Times of a run, by what they were spent on."""

from __future__ import annotations

import time
from collections import defaultdict


class RunClock:
    """Adds up seconds by account; one account runs at a time.

    ``train`` runs from the first task of initialisation to the tables' refresh after the last
    step, without pretraining (``pretrain``), evaluations and the saving after the last step.
    """

    def __init__(self, started: float | None = None) -> None:
        """Start now, or at ``started`` (seconds of `time.time`): when the command was given."""
        self.started = time.time() if started is None else started
        self.accounts: dict[str, float] = defaultdict(float)
        self._account: str | None = None
        self._since = 0.0
        self.marks: dict[str, float] = {}

    @property
    def total_s(self) -> float:
        """Seconds since the command was typed."""
        return time.time() - self.started

    def switch(self, account: str | None) -> None:
        """Charge the time from now on to ``account``."""
        now = time.perf_counter()
        if self._account is not None:
            self.accounts[self._account] += now - self._since
        self._account, self._since = account, now

    def seconds(self, account: str) -> float:
        """Return the seconds charged to ``account`` until now."""
        running = time.perf_counter() - self._since if self._account == account else 0.0
        return self.accounts[account] + running

    def mark(self, name: str) -> None:
        """Remember when ``name`` first happened."""
        self.marks.setdefault(name, self.total_s)

    def start(self) -> dict[str, float]:
        """Return when each part of the start ended or began, until the first gradient step; in order."""
        last = self.marks.get("first_step", float("inf"))
        found = sorted(self.marks.items(), key=lambda mark: mark[1])
        return {name: round(at, 3) for name, at in found if at <= last}
