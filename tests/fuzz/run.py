"""One child of a fuzzing run: takes inputs one after the other, and says which it is at."""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import struct
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from tests.fuzz.target import Target, input_of, outcome

STATE = struct.Struct("<qdqq")
"""The input at hand, when it was begun (seconds of the machine's steady clock), accepted and refused ones."""

WARM_UP = 200
"""Inputs after which kernels and modules are loaded, and memory is taken for the program's own."""

_COMPILING_BYTES = 4 << 30
"""Addresses that loading and compiling may take beyond the rest."""


def peak_bytes() -> int:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def address_bytes() -> int:
    """Return the addresses in use."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE


class Tally:
    """What came of a child's inputs; written to a file now and then, so that a crash loses little."""

    def __init__(self, path: Path, state: Path) -> None:
        self._path = path
        with state.open("r+b") as file:
            self._state = mmap.mmap(file.fileno(), STATE.size)
        self.counts = {"accepted": 0, "refused": 0}
        self.found: dict[str, Any] = {"failures": [], "slowest_s": 0.0, "slowest": -1, "memory_bytes": 0}

    def begin(self, number: int) -> None:
        self._state[:] = STATE.pack(number, time.monotonic(), *self.counts.values())

    def write(self) -> None:
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(self.found))
        os.replace(temporary, self._path)


def run(target: Target, seed: int, first: int, last: int, tally: Tally, room_bytes: int) -> None:
    """Take inputs [first, last) with ``room_bytes`` of addresses beyond those of the program itself."""
    _limit(room_bytes + _COMPILING_BYTES)
    before = peak_bytes()
    for number in range(first, last):
        if number == first + WARM_UP:
            _limit(room_bytes)
            before = peak_bytes()
        tally.begin(number)
        began = time.perf_counter()
        _one(target, seed, number, tally)
        took = time.perf_counter() - began
        if number >= first + WARM_UP and took > tally.found["slowest_s"]:
            tally.found |= {"slowest_s": took, "slowest": number}
        if number % 256 == 0:
            tally.found["memory_bytes"] = max(0, peak_bytes() - before)
            tally.write()
    tally.found["memory_bytes"] = max(0, peak_bytes() - before)
    tally.begin(last)
    tally.write()


def _limit(room_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (address_bytes() + room_bytes, resource.RLIM_INFINITY))


def child(name: str, seed: int, first: int, last: int, tally: Path, state: Path, room_bytes: int) -> None:
    """Run as a process of its own: what readers print or warn of is not shown."""
    from tests.fuzz.targets import TARGETS

    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 1)
    run(TARGETS[name], seed, first, last, Tally(tally, state), room_bytes)


def _one(target: Target, seed: int, number: int, tally: Tally) -> None:
    data = input_of(target, seed, number)
    try:
        tally.counts[outcome(target, data)] += 1
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        lines = traceback.format_exception(error, limit=-4)
        failure = {"number": number, "kind": type(error).__name__, "text": "".join(lines)[-3000:]}
        tally.found["failures"].append(failure)
        tally.write()
