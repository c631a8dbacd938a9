"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any


class StopNow(BaseException):
    """Leave at once, but clean: a second signal, or one when there is nothing to save."""


class StopSignals:
    """Takes SIGINT and SIGTERM while in its `with` block; ``fileno`` wakes a poller.

    ``patient``: a first signal only sets ``requested``; else it raises StopNow.
    ``deaf``: signals are ignored, for the time of cleaning up.
    In a thread that is not the main one, signals are left alone.
    """

    def __init__(self) -> None:
        self.requested = False
        self.patient = False
        self.deaf = False
        self.name = ""
        self.fileno, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.fileno)
        os.close(self._write)

    def drain(self) -> None:
        """Empty the pipe, so that ``fileno`` wakes nobody again."""
        os.read(self.fileno, 64)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.deaf:
            return
        self.name = signal.Signals(number).name
        if self.requested or not self.patient:
            raise StopNow
        self.requested = True
        os.write(self._write, b"\0")
