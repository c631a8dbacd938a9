"""Named places in the code where another process can make this one end or stop, for tests and chaos runs.

The array lies at the start of a run's segment, a cache line a role.  Who maps the segment (it is its
owner's alone) writes a signal's number into place 1 of a role's line, then the number of a point into
place 0; the process that comes past that point next sends itself the signal.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from distlsh.constants import CACHE_LINE_BYTES
from distlsh.runtime.roles import REHASHER, worker_index
from distlsh.shm.spec import ArraySpec

FAILPOINTS = "runtime.failpoints"
COORDINATOR = "coordinator"
PLACES = CACHE_LINE_BYTES // 8
_POINT, _SIGNAL = 0, 1
_DELIVERY_S = 0.01


class Point(IntEnum):
    """Where a process can be struck; 0 is nowhere."""

    # workers
    HELLO = 1  # before a child says that it is ready
    INIT = 2  # before first values are written
    PRETRAIN = 3  # between two batches of the pretraining
    WARM_START = 4  # between two blocks of instances
    CHUNK = 5  # before a chunk's first batch
    STEP = 6  # between two batches
    FORWARD = 7  # in a batch, between the forward pass and the first update
    BACKWARD = 8  # in a batch, between the updates of the output and those of the hidden layers
    READING = 12  # holding a generation of the tables
    EVALUATE = 9  # between two blocks of an evaluation
    TASK_DONE = 10  # when a task is done and not yet acknowledged
    STOP = 11  # when asked to stop
    # the rehasher, beside HELLO and STOP
    REHASH = 20  # before a refresh
    READERS = 21  # while it waits for readers of the idle buffer
    ROWS = 22  # between two blocks of rows
    PUBLISH_BEFORE = 23  # tables are filled and not published
    PUBLISH_AFTER = 24  # tables are published and not acknowledged
    TUNE = 25  # before hash functions are chosen
    # the coordinator
    READY = 40  # the first child is ready
    ASSIGN = 41  # before a task is handed out
    EVALUATED = 42  # an evaluation's last task is acknowledged, the line not written
    SAVE_BEFORE = 43  # a checkpoint is due, nothing of it written
    SAVE_WRITE = 44  # the arrays are written, the manifest is not
    SAVE_RENAME = 45  # all is written and not in its place
    SAVE_AFTER = 46  # the checkpoint is in its place
    SHUTDOWN = 47  # the last step is done, the children are there
    SUMMARY = 48  # the children are gone, the summary is not written


WORKER_POINTS = tuple(point for point in Point if point < Point.REHASH)
REHASHER_POINTS = (
    Point.HELLO,
    *(point for point in Point if Point.REHASH <= point < Point.READY),
    Point.STOP,
)
COORDINATOR_POINTS = tuple(point for point in Point if point >= Point.READY)

Line = memoryview
"""A role's line: i8[8]."""


def failpoint_spec(n_workers: int) -> ArraySpec:
    """Return the array's spec: a line a worker, then the rehasher's, then the coordinator's."""
    return ArraySpec(FAILPOINTS, (n_workers + 2, PLACES), "i8")


def row_of(role: str, n_workers: int) -> int:
    """Return the row of a role's line."""
    if role == COORDINATOR:
        return n_workers + 1
    return n_workers if role == REHASHER else worker_index(role)


def line_of(arena: Mapping[str, NDArray[Any]], role: str) -> Line:
    """Return a role's line."""
    lines = arena[FAILPOINTS]
    # Not the array: reading an item of it costs three times as much.
    return memoryview(lines[row_of(role, len(lines) - 2)])


def arm(segment: Path, row: int, point: int, number: int) -> None:
    """Have the role of ``row``, of the run with this segment, sent signal ``number`` at ``point``."""
    with segment.open("r+b") as file, mmap.mmap(file.fileno(), (row + 1) * CACHE_LINE_BYTES) as mapped:
        line = memoryview(mapped).cast("q")[row * PLACES :]
        line[_SIGNAL] = number  # first: who finds the point finds its signal
        line[_POINT] = point
        line.release()


def armed(segment: Path, row: int) -> int:
    """Return the point that is set for the role of ``row``; 0 where it has been struck, or none was."""
    with segment.open("rb") as file:
        return int.from_bytes(os.pread(file.fileno(), 8, row * CACHE_LINE_BYTES), sys.byteorder)


def failpoint(line: Line, point: int) -> None:
    """Send this process the signal that was set for ``point``, if one was."""
    if line[_POINT] == point:
        strike(line)


def strike(line: Line) -> None:
    """Send this process the signal in the line; the line is empty before it arrives."""
    line[_POINT] = 0
    os.kill(os.getpid(), line[_SIGNAL])
    time.sleep(_DELIVERY_S)  # another thread may be the one that takes it
