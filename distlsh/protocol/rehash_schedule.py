"""When to refresh the tables: SLIDE's decaying schedule, answering to measured drift."""

from __future__ import annotations

import math

import msgspec


class RehashSchedule(msgspec.Struct, kw_only=True):
    """The n-th interval is ``initial * exp(decay * n)`` samples (SLIDE, section 4.2).

    A refresh that finds more than ``max_drift`` of the codes moved steps n back
    instead of on, so that intervals shorten while the rows move fast.
    """

    initial: int
    decay: float
    max_drift: float
    n: int = 0
    next_at: int = 0

    def start(self, samples: int = 0) -> None:
        """Set the first refresh, ``initial`` samples from now."""
        self.next_at = samples + self.interval()

    def interval(self) -> int:
        """Return the present interval in samples."""
        return round(self.initial * math.exp(min(self.decay * self.n, 50.0)))

    def due(self, samples: int) -> bool:
        """Tell whether a refresh is due after ``samples``."""
        return samples >= self.next_at

    def refreshed(self, samples: int, changed_share: float) -> None:
        """Take note of a refresh that was asked for after ``samples``."""
        self.n = max(0, self.n - 1) if changed_share > self.max_drift else self.n + 1
        self.next_at = samples + self.interval()
