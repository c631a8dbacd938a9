"""Checkpoints written in a thread of the coordinator, and what they cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from distlsh.constants import PRETRAIN
from distlsh.errors import DistlshError, ResourceError
from distlsh.model.checkpoint import Moment
from distlsh.protocol import events as ev
from distlsh.protocol.actions import SaveCheckpoint
from distlsh.protocol.plan import Position
from distlsh.runtime.failpoints import Line, Point, failpoint
from distlsh.runtime.saving import Saver, Write

Figures = Callable[[], dict[str, Any]]

_POINTS = {
    Moment.ARRAYS: Point.SAVE_WRITE,
    Moment.WRITTEN: Point.SAVE_RENAME,
    Moment.IN_PLACE: Point.SAVE_AFTER,
}


class Cancelled(Exception):
    """The save was given up, and nothing of it was kept."""


class Outcome(NamedTuple):
    """How a save ended."""

    asked: SaveCheckpoint
    path: Path | None
    error: Exception | None
    seconds: float


class Saves:
    """Writes one checkpoint at a time.

    seconds       of saving, in this process's part of the run
    stalled_s     seconds in which there was work that had to wait for a save
    final_saved   the checkpoint after the last step is in its place
    """

    def __init__(
        self, saver: Saver, interval_s: float, line: Line, notice: Callable[[str, str], None]
    ) -> None:
        """Write what ``saver`` says.

        interval_s  from the end of a save to the next that time alone asks for; 0: never
        line        of the coordinator's failpoints
        notice      is told how each save ended: level and text
        """
        self._saver = saver
        self._interval_s = interval_s
        self._line = line
        self._notice = notice
        self._idle_since = time.monotonic()
        self._thread: threading.Thread | None = None
        self._outcome: Outcome | None = None
        self._cancelled = False
        self._waiting_since: float | None = None
        self.final_saved = False
        self.seconds = 0.0
        self.stalled_s = 0.0

    def begin(self, asked: SaveCheckpoint, figures: dict[str, Any]) -> None:
        """Begin to write; the arrays must stay mapped until `heard`, `rescue` or `close`.

        figures  see `Saver.save`
        """
        assert self._thread is None and self._outcome is None
        self._cancelled = False
        try:  # there may be no memory, or no thread, to be had
            write = self._saver.save(asked.position, figures, live=not asked.quiet)
            self._thread = threading.Thread(target=self._run, args=(asked, write), name="checkpoint")
            self._thread.start()
        except (RuntimeError, MemoryError) as error:
            self._thread, self._outcome = None, Outcome(asked, None, _told(error), 0.0)

    def heard(self) -> ev.Saved | ev.SaveDue | None:
        """Return what the machine must know by now, once.

        Where a save failed, the run goes on and later ones may succeed; the error of one that none
        follows is raised, and so is one that no disk can be blamed for.
        """
        if self._thread is not None and self._thread.is_alive():
            return None
        if self._thread is not None or self._outcome is not None:
            return self._end()
        if self._interval_s and time.monotonic() - self._idle_since >= self._interval_s:
            self._idle_since = time.monotonic()
            return ev.SaveDue()
        return None

    def rescue(self, position: Callable[[bool], Position | None], figures: Figures) -> None:
        """End the save under way, then save what was learned before an error; no child is left.

        position  tells, from ``final_saved``, what there is to save
        """
        try:
            self._end()
            left = position(self.final_saved)
            if left is not None:
                self.begin(SaveCheckpoint(left, quiet=True, last=True), figures())
                self._end()
        except Exception as error:  # whatever it is, the run ends with the error that came first
            text = f"what was learned since the last checkpoint could not be saved: {_words(error)}"
            self._notice("warning", text)

    def give_up(self) -> None:
        """End the save under way, if there is one, and leave nothing of it."""
        self._cancelled = True

    def close(self) -> None:
        """Give up the save under way, and return when its thread has ended."""
        self.give_up()
        self._wait()

    def waited_for(self, waits: bool) -> None:
        """Take note of whether from now on work waits for a save."""
        now = time.perf_counter()
        if self._waiting_since is not None:
            self.stalled_s += now - self._waiting_since
        self._waiting_since = now if waits else None

    def _run(self, asked: SaveCheckpoint, write: Write) -> None:
        started = time.perf_counter()
        path, error = None, None
        try:
            failpoint(self._line, Point.SAVE_BEFORE)
            path = write(watch=self._watch)
        except Exception as raised:
            error = _told(raised)
        self._outcome = Outcome(asked, path, error, time.perf_counter() - started)

    def _watch(self, moment: Moment) -> None:
        if self._cancelled and moment is not Moment.IN_PLACE:
            raise Cancelled
        if moment in _POINTS:
            failpoint(self._line, _POINTS[moment])

    def _wait(self) -> Outcome | None:
        if self._thread is not None:
            if self._thread.ident is not None:  # else a signal came before it was started
                self._thread.join()
            self._thread = None
        outcome, self._outcome = self._outcome, None
        if outcome is not None:
            self._idle_since = time.monotonic()
            self.seconds += outcome.seconds
        return outcome

    def _end(self) -> ev.Saved | None:
        outcome = self._wait()
        if outcome is None:
            return None
        asked, path, error, _ = outcome
        if isinstance(error, Cancelled):
            return ev.Saved(kept=False)
        if error is not None and (asked.last or not isinstance(error, DistlshError | OSError)):
            raise error
        if path is None:
            self._notice("warning", f"no checkpoint was saved: {error}; the run goes on and will try again")
            return ev.Saved(kept=False)
        self.final_saved = self.final_saved or asked.position.stage == "final"
        self._notice("info", f"checkpoint {path.name} after {progress(asked.position)}")
        return ev.Saved()


def _told(error: Exception) -> Exception:
    """Return an error of a machine that gives no thread, or no memory, as what it is."""
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return ResourceError(
            "no thread could be started: raise the limit of processes (ulimit -u, or pids.max of the control "
            "group: docker run --pids-limit, systemd TasksMax)"
        )
    if isinstance(error, MemoryError):
        return ResourceError("no more memory could be had; lower run.workers or model.hidden")
    return error


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, DistlshError | OSError) else f"{type(error).__name__}: {error}"


def progress(position: Position) -> str:
    """Say how far a run is."""
    if position.stage == PRETRAIN:
        return f"{position.pretrained:,} samples of the pretraining"
    return f"{position.samples:,} samples"
