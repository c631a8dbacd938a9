"""Fills a run's arrays from the last good checkpoint, while its children live and wait."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from distlsh.errors import CheckpointError
from distlsh.model.array_files import Unreadable
from distlsh.model.checkpoint import checkpoints, discard, read_checkpoint
from distlsh.model.finite import bad_array
from distlsh.protocol import events as ev
from distlsh.protocol.plan import Position
from distlsh.runtime.assembly import Parts
from distlsh.runtime.memory import MemoryWatch
from distlsh.runtime.reporting import Meter
from distlsh.runtime.restored import as_checkpoint_errors, check_state
from distlsh.runtime.visits import VISITS

Notice = Callable[[str, str], None]


class GoingBack:
    """Takes a run back to the newest checkpoint that is whole and all of whose numbers are finite.

    Newer ones with others are removed; damaged ones stay until saving needs their place.
    """

    def __init__(self, parts: Parts, memory: MemoryWatch, meter: Meter, notice: Notice) -> None:
        """Take the run's parts; ``notice`` is told, level and text, what is used and what was passed over."""
        self._saver, self._arena, self._chosen = parts.saver, parts.arena, parts.chosen
        self._plan = parts.plan
        self._memory, self._meter, self._notice = memory, meter, notice

    def restore(self) -> ev.Restored:
        """Fill arrays and counters, which nobody may use meanwhile; return what the machine must know.

        Where no checkpoint is good, the counters are zeroed: the first values are to be written again.
        """
        found = self._best()
        self._clear()
        if found is None:
            self._notice("info", "there is no good checkpoint: training begins anew")
            self._meter.went_back(None, 0)
            return ev.Restored(None)
        path, arrays, state = found
        position = self._fill(path, arrays, state)
        self._meter.went_back(state["meter"], position.samples)
        self._notice("info", f"went back to checkpoint {path.name}")
        return ev.Restored(position)

    def _best(self) -> tuple[Path, dict[str, Any], dict[str, Any]] | None:
        for path in checkpoints(self._saver.folder):
            try:
                arrays, state = read_checkpoint(path, mmap=True)
            except CheckpointError as error:
                if not isinstance(error, Unreadable):
                    self._saver.damaged.add(path.name)
                self._notice("warning", f"checkpoint {path.name} is damaged and was passed over: {error}")
                continue
            bad = next((name for name, array in arrays.items() if bad_array(name, array)), None)
            if bad is not None:
                self._notice("warning", f"checkpoint {path.name} was removed: {bad} is not finite")
                discard(path)  # or it were what --resume takes, until the next save
                continue
            return path, arrays, state
        return None

    def _clear(self) -> None:
        self._arena["runtime.counters"][...] = 0.0
        if VISITS in self._arena:
            self._arena[VISITS][...] = 0

    def _fill(self, path: Path, arrays: dict[str, Any], state: dict[str, Any]) -> Position:
        before = self._chosen.n_bytes if self._chosen is not None else 0
        position = self._saver.fill(path, arrays, state)
        with as_checkpoint_errors(path):
            check_state(self._plan, position, state, chosen=self._saver.has_choice)
        after = self._chosen.n_bytes if self._chosen is not None else 0
        self._memory.share(after)
        self._memory.share(-before)
        return position
