"""Fuzz every reader: ``python -m tests.fuzz --inputs 1000000 --seed 1``; one kept input: ``--replay FILE``.

Each target's inputs are taken by child processes, whose addresses are limited.  A child that takes
more than ``--hang`` seconds for one input is killed, one that dies is a crash; either goes on
behind that input.  Every input depends on seed, target and number alone.  Inputs that failed are
written to ``--keep``; moved to ``tests/fuzz/found`` they are tried at every run of the tests.

Exits 1 if anything but an error of distlsh came of any input.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing as mp
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz import run
from tests.fuzz.target import Target, input_of, outcome
from tests.fuzz.targets import TARGETS

_POLL_S = 0.05
_NOTHING: dict[str, Any] = {"failures": [], "slowest_s": 0.0, "memory_bytes": 0}
_CONTEXT = mp.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.fuzz.targets"])


@dataclass
class Job:
    """Inputs [first, last) of a target, and the child that is at them."""

    target: str
    first: int
    last: int
    folder: Path
    tallies: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    child: Any = None
    n_children: int = 0

    def start(self, arguments: argparse.Namespace) -> None:
        """Start a child at ``first``."""
        self.n_children += 1
        state = self._state
        state.write_bytes(run.STATE.pack(self.first, time.monotonic(), 0, 0))
        args = (self.target, arguments.seed, self.first, self.last, self._tally, state, arguments.room << 20)
        self.child = _CONTEXT.Process(target=run.child, args=args, daemon=True)
        self.child.start()

    @property
    def _state(self) -> Path:
        return self.folder / f"{self.target}-{self.first}.state"

    @property
    def _tally(self) -> Path:
        return self.folder / f"{self.target}-{self.first}.json"

    def look(self, hang_s: float, compile_s: float) -> bool:
        """Tell whether the child is through; take note of a crash or a hang, and kill what hangs."""
        number, began, *_ = run.STATE.unpack(self._state.read_bytes())
        waited = time.monotonic() - began
        if self.child.exitcode is None:
            if waited < hang_s + (compile_s if number <= self.first + run.WARM_UP else 0.0):
                return False
            self.child.kill()
            self.child.join()
            self._over(number, "hang", f"more than {hang_s} s")
            return True
        self.child.join()
        if self.child.exitcode == 0 and number == self.last:
            self._gather()
            self.first = self.last
        else:
            code = self.child.exitcode
            self._over(number, "crash", signal.Signals(-code).name if code < 0 else f"exit code {code}")
        return True

    def _over(self, number: int, kind: str, text: str) -> None:
        self._gather()
        self.failures.append({"number": number, "kind": kind, "text": text})
        self.first = number + 1

    def _gather(self) -> None:
        tally = json.loads(self._tally.read_text()) if self._tally.exists() else dict(_NOTHING)
        *_, accepted, refused = run.STATE.unpack(self._state.read_bytes())
        self.tallies.append({**tally, "accepted": accepted, "refused": refused})


def shares(inputs: int, names: list[str]) -> dict[str, int]:
    """Return how many of ``inputs`` each target gets."""
    whole = sum(TARGETS[name].share for name in names)
    return {name: -(-int(inputs * TARGETS[name].share) // int(whole * 10) * 10) or 10 for name in names}


def fuzz(arguments: argparse.Namespace) -> list[Job]:
    """Run all jobs, ``--processes`` at a time."""
    names = arguments.target or list(TARGETS)
    counts = shares(arguments.inputs, names)
    with tempfile.TemporaryDirectory(prefix="fuzz-run-") as folder:
        os.environ["TMPDIR"] = folder  # of the children: whatever a killed one leaves goes with it
        waiting = [Job(name, 0, counts[name], Path(folder)) for name in names]
        done: list[Job] = []
        busy: list[Job] = []
        while waiting or busy:
            while waiting and len(busy) < arguments.processes:
                job = waiting.pop(0)
                job.start(arguments)
                busy.append(job)
            time.sleep(_POLL_S)
            for job in list(busy):
                if not job.look(arguments.hang, arguments.compile):
                    continue
                if job.first < job.last and job.n_children <= arguments.most_failures:
                    job.start(arguments)
                    continue
                busy.remove(job)
                done.append(job)
                print(_line(_sum(job)), flush=True)
    return done


def _sum(job: Job) -> dict[str, Any]:
    tallies = job.tallies
    failures = [*job.failures, *(failure for tally in tallies for failure in tally["failures"])]
    kinds = [failure["kind"] for failure in failures]
    return {
        "target": job.target,
        "accepted": sum(tally["accepted"] for tally in tallies),
        "refused": sum(tally["refused"] for tally in tallies),
        "crashes": kinds.count("crash"),
        "hangs": kinds.count("hang"),
        "memory": kinds.count("MemoryError"),
        "others": len([kind for kind in kinds if kind not in ("crash", "hang", "MemoryError")]),
        "slowest_s": round(max((tally["slowest_s"] for tally in tallies), default=0.0), 3),
        "memory_bytes": max((tally["memory_bytes"] for tally in tallies), default=0),
        "failures": failures,
    }


_COLUMNS = ("target", "accepted", "refused", "crashes", "hangs", "memory", "others", "slowest", "grew by")


def _line(found: dict[str, Any]) -> str:
    counts = [f"{found[name]:,}" for name in _COLUMNS[1:7]]
    sizes = [f"{found['slowest_s']:.2f} s", f"{found['memory_bytes'] >> 20} MiB"]
    return _columns([found["target"], *counts, *sizes])


def _columns(texts: Sequence[str]) -> str:
    return f"{texts[0]:14}" + "".join(f"{text:>10}" for text in texts[1:])


def keep(found: dict[str, Any], seed: int, folder: Path) -> None:
    """Write the inputs that failed, and say what came of them."""
    target = TARGETS[found["target"]]
    for failure in found["failures"][:20]:
        data = input_of(target, seed, failure["number"])
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{target.name}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
        path.write_bytes(data)
        print(f"\n{path}: {failure['kind']}\n{failure['text']}")


def replay(path: Path) -> None:
    """Take one kept input; raises what it raises."""
    target: Target = TARGETS[path.name.rpartition("-")[0]]
    print(f"{path.name}: {outcome(target, path.read_bytes())}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--inputs", type=int, default=1_000_000, help="over all targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--target", action="append", choices=sorted(TARGETS), help="only this one; repeatable"
    )
    parser.add_argument("--processes", type=int, default=max(1, len(os.sched_getaffinity(0))))
    parser.add_argument(
        "--hang", type=float, default=20.0, metavar="S", help="seconds that no input may take"
    )
    parser.add_argument(
        "--compile", type=float, default=90.0, metavar="S", help="more for a child's first ones"
    )
    parser.add_argument(
        "--room", type=int, default=1024, metavar="MIB", help="addresses beyond the program's own"
    )
    parser.add_argument("--most-failures", type=int, default=50, help="children of a target that may die")
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz-failures"), help="folder for inputs that failed"
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="take one kept input and end")
    arguments = parser.parse_args()
    if arguments.replay is not None:
        replay(arguments.replay)
        return 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # children end with it
    began = time.perf_counter()
    print(_columns(_COLUMNS))
    found = [_sum(job) for job in fuzz(arguments)]
    return report(found, arguments, time.perf_counter() - began)


def report(found: list[dict[str, Any]], arguments: argparse.Namespace, took_s: float) -> int:
    """Print and write what came of all; return the exit code."""
    taken = sum(one["accepted"] + one["refused"] + len(one["failures"]) for one in found)
    bad = sum(len(one["failures"]) for one in found)
    print(f"{taken:,} inputs in {took_s:,.0f} s; {bad} of them failed")
    for one in found:
        keep(one, arguments.seed, arguments.keep)
    if arguments.json is not None:
        figures = {"inputs": taken, "seed": arguments.seed, "took_s": round(took_s, 1), "targets": found}
        arguments.json.write_text(json.dumps(figures, indent=1))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
