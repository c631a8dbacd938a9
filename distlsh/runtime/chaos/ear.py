"""What a run publishes, heard by a thread."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import NamedTuple

from distlsh.errors import ProtocolError
from distlsh.protocol.messages import Metric, WorkerMetrics
from distlsh.protocol.reports import Notice, Rehash, Report, Restart
from distlsh.transport.metrics import subscribe

_SILENCE_S = 0.5


class Heard(NamedTuple):
    """A metric and when it came, seconds of `time.monotonic`."""

    at: float
    metric: Metric


class Ear:
    """Subscribes to one coordinator's metrics until closed."""

    def __init__(self, address: str) -> None:
        self.heard: list[Heard] = []
        self.samples = 0
        self.news = 0  # metrics that tell of something done
        self.phase = "start"
        self._address = address
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="chaos-ear", daemon=True)
        self._thread.start()

    def since(self, at: float) -> list[Heard]:
        """Return what came at ``at`` or later."""
        found = []
        for one in reversed(self.heard):
            if one.at < at:
                break
            found.append(one)
        return found[::-1]

    def restarted(self, role: str, since: float) -> Heard | None:
        """Return the first word of a successor of ``role`` from ``since`` on."""
        return next(
            (h for h in self.since(since) if isinstance(h.metric, Restart) and h.metric.role == role), None
        )

    def working(self, role: str, since: float) -> float | None:
        """Return when ``role`` did something from ``since`` on: a chunk, or a refresh."""
        for one in self.since(since):
            match one.metric:
                case WorkerMetrics(role=who) if who == role:
                    return one.at
                case Rehash() if role == "rehasher":
                    return one.at
        return None

    def said(self, text: str, since: float) -> bool:
        """Tell whether a notice with ``text`` came from ``since`` on."""
        return any(isinstance(h.metric, Notice) and text in h.metric.text for h in self.since(since))

    def training(self, since: float = 0.0) -> float | None:
        """Return when any training was done from ``since`` on."""
        return next((h.at for h in self.since(since) if isinstance(h.metric, WorkerMetrics)), None)

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join()

    def _listen(self) -> None:
        while not self._closed.is_set():
            # A coordinator that is held says nothing for a while.
            try:
                for metric in subscribe(self._address, _SILENCE_S):
                    self._take(metric)
                    if self._closed.is_set():
                        return
            except ProtocolError:
                continue

    def _take(self, metric: Metric) -> None:
        self.heard.append(Heard(time.monotonic(), metric))
        before = self.samples, self.phase
        if isinstance(metric, Report):
            self.samples, self.phase = max(self.samples, metric.samples), metric.phase
        # A run that hangs goes on reporting that it does.
        self.news += not isinstance(metric, Report) or before != (self.samples, self.phase)


def publisher(folder: Path, pid: int) -> str | None:
    """Return where coordinator ``pid``, with its sockets in ``folder``, publishes; None: nowhere yet."""
    found = next(iter(folder.glob(f"distlsh-{pid}-*/publish")), None)
    return None if found is None else f"ipc://{found}"
