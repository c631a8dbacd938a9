"""Saves a checkpoint again and again, each time killed at another of its system calls.

    python -m tests.model.struck FOLDER SHARE SEED

SHARE of the system calls, drawn by SEED, are struck.  Prints what was found as a line of JSON.
The writer is a fork, so that each attempt costs milliseconds, traced by ptrace with all its threads.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import sys
from pathlib import Path

import numpy as np

from distlsh.model.checkpoint import latest_checkpoint, read_checkpoint, write_checkpoint

TRACEME, SYSCALL, SETOPTIONS = 0, 24, 0x4200
SYSGOOD, TRACECLONE, EXITKILL = 0x1, 0x8, 0x100000
WALL = 0x40000000
NOT_PERMITTED = 77

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long


def arrays(number: int) -> dict[str, np.ndarray]:
    return {
        "output.weights": np.full((500, 4), number, np.float32),
        "output.state1": np.full((500, 4), number, np.float32),
        "output.dirty": np.full(500, number % 256, np.uint8),
    }


def save(folder: Path, number: int) -> None:
    write_checkpoint(folder, f"s{number}", arrays(number), {"number": number}, keep=1, live=True)


def start(folder: Path, number: int) -> int:
    """Start a traced writer; it has stopped before its first system call of its own."""
    pid = os.fork()
    if pid == 0:
        if LIBC.ptrace(TRACEME, 0, None, None):
            os._exit(NOT_PERMITTED)
        os.kill(os.getpid(), signal.SIGSTOP)
        save(folder, number)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        raise PermissionError
    LIBC.ptrace(SETOPTIONS, pid, None, SYSGOOD | TRACECLONE | EXITKILL)
    return pid


def follow(pid: int, kill_at: int) -> tuple[int, bool]:
    """Let the writer run to its ``kill_at``-th system call; return the calls seen, and if it was killed."""
    calls, inside, known = 0, set(), {pid}
    LIBC.ptrace(SYSCALL, pid, None, None)
    while True:
        thread, status = os.waitpid(-1, WALL)
        if not os.WIFSTOPPED(status):
            if thread == pid:
                return calls, os.WIFSIGNALED(status)
            continue
        number, deliver = os.WSTOPSIG(status), 0
        if number == signal.SIGTRAP | 0x80:
            if thread in inside:
                inside.discard(thread)
            else:
                inside.add(thread)
                calls += 1
                if calls == kill_at:  # before it is carried out
                    os.kill(pid, signal.SIGKILL)
                    continue
        elif thread not in known:  # a new thread's first stop
            known.add(thread)
        elif not status >> 16:
            deliver = number
        LIBC.ptrace(SYSCALL, thread, None, deliver)


def check(folder: Path, old: int, new: int) -> int:
    """Return which of the two is there; an error unless it is whole, and nothing complains."""
    found = latest_checkpoint(folder)
    read, state = read_checkpoint(found.path)
    number = int(state["number"])
    assert number in (old, new) and not found.warnings, found
    for name, array in arrays(number).items():
        np.testing.assert_array_equal(read[name], array)
    return number


def main(folder: Path, share: float, seed: int) -> dict[str, int]:
    save(folder, 0)
    calls, killed = follow(start(folder, 1), -1)
    assert not killed and check(folder, 1, 1) == 1
    draw = random.Random(seed)
    found = {"calls": calls, "killed": 0, "old": 0, "new": 0, "ended": 0}
    old = 1
    for at in range(1, calls + 1):
        if draw.random() >= share:
            continue
        _, killed = follow(start(folder, old + 1), at)
        left = check(folder, old, old + 1)
        found["killed" if killed else "ended"] += 1
        found["old" if left == old else "new"] += 1
        save(folder, old + 2)  # the next save tidies up
        assert [path.name for path in folder.iterdir()] == [f"s{old + 2}"]
        old += 2
    return found


if __name__ == "__main__":
    try:
        print(json.dumps(main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))))
    except PermissionError:
        sys.exit(NOT_PERMITTED)
