"""Checkpoints of arrays that others go on changing, and what the writer's watch can do."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from distlsh.model import array_files, checkpoint
from distlsh.model.checkpoint import Moment, latest_checkpoint, read_checkpoint, write_checkpoint

ROWS = 64


def test_checksums_are_those_of_what_was_written(tmp_path: Path) -> None:
    """Arrays that change all the time are saved whole: each file has the sum of its own bytes."""
    array, stop = np.zeros(1 << 21, np.int32), threading.Event()

    def change() -> None:
        while not stop.is_set():
            np.add(array, 1, out=array)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        paths = [write_checkpoint(tmp_path, f"s{i}", {"x": array}, {}, 3, live=True) for i in range(3)]
    finally:
        stop.set()
        thread.join()
    for path in paths:
        saved = read_checkpoint(path)[0]["x"]
        assert 0 <= saved.min() <= saved.max() <= array.max()
    assert saved.max() > 0, "it was changed while it was written"


class Rows:
    """Rows of a layer; before each block that is written one more is changed, as a worker does it."""

    def __init__(self) -> None:
        # Marks first: the order of writing must not be that of the names.
        self.arrays = {
            "output.dirty": np.zeros(ROWS, np.uint8),
            "output.clock": np.zeros(ROWS, np.int64),
            "output.state2": np.zeros((ROWS, 4), np.float32),
            "output.state1": np.zeros((ROWS, 4), np.float32),
            "output.weights": np.zeros((ROWS, 4), np.float32),
        }
        self.changed = 0
        self._lock = threading.Lock()

    def change(self, moment: Moment) -> None:
        with self._lock:
            if moment is Moment.BLOCK and self.changed < ROWS:
                row, self.changed = ROWS - 1 - self.changed, self.changed + 1
                for part in ("weights", "state1", "state2", "clock"):
                    self.arrays[f"output.{part}"][row] = 1
                self.arrays["output.dirty"][row] = 1


@pytest.mark.parametrize("live", [True, False])
def test_no_changed_row_is_saved_without_its_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    """Weights are copied before states, these before marks; in the order of names marks would be missing."""
    monkeypatch.setattr(array_files, "_BLOCK_BYTES", 32)
    monkeypatch.setattr(checkpoint, "_THREADS", 1)
    rows = Rows()
    path = write_checkpoint(tmp_path, "s", rows.arrays, {}, 1, live=live, watch=rows.change)
    saved = {name.removeprefix("output."): array for name, array in read_checkpoint(path)[0].items()}
    missing = [
        (earlier, later)
        for earlier, later in zip(
            ("weights", "state1", "state2", "clock"), ("state1", "state2", "clock", "dirty"), strict=True
        )
        if (np.reshape(saved[earlier], (ROWS, -1))[:, 0] > np.reshape(saved[later], (ROWS, -1))[:, 0]).any()
    ]
    assert saved["weights"].any()
    assert bool(missing) is not live


@pytest.mark.parametrize("moment", [m for m in Moment if m is not Moment.IN_PLACE])
def test_a_watch_that_raises_leaves_nothing_of_the_checkpoint(tmp_path: Path, moment: Moment) -> None:
    """Given up at any moment before it is in its place, a checkpoint leaves the one before, and no file."""
    before = write_checkpoint(tmp_path, "s1", {"x": np.zeros(3)}, {}, 1)

    def give_up(now: Moment) -> None:
        if now is moment:
            raise KeyError(moment.value)

    with pytest.raises(KeyError):
        write_checkpoint(tmp_path, "s2", {"x": np.ones(3)}, {}, 1, watch=give_up)
    assert latest_checkpoint(tmp_path).path == before
    assert [path.name for path in tmp_path.iterdir()] == ["s1"]
