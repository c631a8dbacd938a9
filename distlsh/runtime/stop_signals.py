"""Ctrl-C, SIGTERM and a closed terminal: the first asks for an orderly end, a later one ends at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SAME_S = 0.3
"""Seconds in which signals are one request: a process group and its members get them one by one."""

_PEACE_S = 10.0
"""Seconds in which `interrupted_by_signals` leaves what cleans up alone."""


class StopNow(BaseException):
    """Leave at once, but clean: a second signal, or one when there is nothing to save."""


class StopSignals:
    """Takes SIGINT, SIGTERM and SIGHUP while in its `with` block; ``fileno`` wakes a poller.

    ``patient``: a first signal only sets ``requested``; else it raises StopNow.
    ``deaf``: signals are ignored, for the time of cleaning up.
    In a thread that is not the main one, signals are left alone; so is a SIGHUP that is ignored already.
    """

    def __init__(self) -> None:
        self.requested = False
        self.patient = False
        self.deaf = False
        self.name = ""
        self.fileno, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[int, Any] = {}
        self._first_at: float | None = None
        self._held = self._due = False

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                # `nohup` has it ignored, for the run to go on.
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.fileno)
        os.close(self._write)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raise StopNow at the end of the block rather than within it: what changes together stays whole.

        For short blocks that do not wait.  An error that leaves the block goes before.
        """
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._due:
            raise StopNow

    def drain(self) -> None:
        """Empty the pipe, so that ``fileno`` wakes nobody again."""
        os.read(self.fileno, 64)

    def _take(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.deaf or (self._first_at is not None and now - self._first_at < _SAME_S):
            return
        self.name = signal.Signals(number).name
        self._first_at = self._first_at or now
        if self.requested or not self.patient:
            if not self._held:
                raise StopNow
            self._due = True
            return
        self.requested = True
        os.write(self._write, b"\0")


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block at SIGTERM and SIGHUP as at Ctrl-C, so that what it started ends.

    Further signals are ignored for `_PEACE_S`, and so are those that were ignored before (``nohup``,
    a shell's background).
    For the main thread.
    """
    last = -_PEACE_S

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PEACE_S:
            last = now
            raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, take) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
