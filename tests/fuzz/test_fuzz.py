"""Some of the inputs of a long fuzzing run, and every input that once failed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from tests.fuzz.target import input_of, outcome
from tests.fuzz.targets import TARGETS

FOUND = sorted((Path(__file__).parent / "found").glob("*.bin"))
ROOT = Path(__file__).parents[2]
QUICK_S = 1.0
"""Seconds that a target's inputs take here; `python -m tests.fuzz` takes a million."""


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_input_is_read_or_refused_with_one_error(name):
    """Changed files, settings and messages end in a result, compared with a reference, or one error."""
    target, seed, number, until = TARGETS[name], time.time_ns() % 1000, 0, time.monotonic() + QUICK_S
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overflows of absurd numbers are part of it
        while time.monotonic() < until or number < 20:
            try:
                outcome(target, input_of(target, seed, number))
            except Exception as error:
                error.add_note(f"python -m tests.fuzz --target {name} --seed {seed} --inputs {number + 1}")
                raise
            number += 1


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_once_failed_is_refused_or_read(path):
    """Each input that a fuzzing run ever found is tried again."""
    outcome(TARGETS[path.name.rpartition("-")[0]], path.read_bytes())


SPOILT = """
import os, signal, sys, time
from random import Random
from tests.fuzz import target, targets

def take(data):
    match data[0] % 64:
        case 1: os.kill(os.getpid(), signal.SIGSEGV)
        case 2: time.sleep(60)
        case 3: bytearray(1 << 34)
        case 4: raise KeyError("x")
        case 5: raise target.DistlshError("")
    return True

targets.TARGETS["spoilt"] = target.Target("spoilt", lambda random: random.randbytes(1), take)
"""


def test_crashes_hangs_memory_and_other_exceptions_are_found_and_kept(tmp_path):
    """A reader that dies, sleeps, takes all memory, raises something else or says nothing is told of each."""
    (tmp_path / "spoilt.py").write_text(SPOILT)
    code = (
        "import sys; sys.path[:0] = sys.argv.pop(1).split(':'); import spoilt\\n"
        "from tests.fuzz import __main__ as m; m._CONTEXT.set_forkserver_preload(['spoilt'])\\n"
        "sys.exit(m.main())"
    ).replace("\\n", "\n")
    options = [
        "--target",
        "spoilt",
        "--inputs",
        "150",
        "--hang",
        "0.5",
        "--compile",
        "0.5",
        "--keep",
        str(tmp_path / "kept"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, f"{tmp_path}:{ROOT}", *options],
        capture_output=True, text=True, timeout=60, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    counts = dict(zip(*(line.split() for line in done.stdout.splitlines()[:2]), strict=False))
    assert all(int(counts[kind]) > 0 for kind in ("crashes", "hangs", "memory", "others")), done.stdout
    assert {line.rpartition(": ")[2] for line in done.stdout.splitlines() if ".bin: " in line} >= {
        "crash", "hang", "MemoryError", "KeyError", "Wrong",
    }  # fmt: skip
    kept = sorted((tmp_path / "kept").glob("spoilt-*.bin"))
    assert {path.read_bytes()[0] % 64 for path in kept} <= {1, 2, 3, 4, 5}
