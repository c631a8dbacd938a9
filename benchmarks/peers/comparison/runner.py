"""Runs one setting of one peer in a process of its own; collects its events, memory and precision."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from comparison.prepare import Pair
from comparison.scoring import precision_of_files

ADAPTERS = Path(__file__).parents[1] / "adapters"
_END_S = 20.0
"""A process that is told to end has so long before it is killed."""
_THREAD_KEYS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


@dataclass(frozen=True)
class Limits:
    """What every peer gets.

    time_limit_s    of training, for peers that can be stopped and still predict; 0: none
    wall_limit_s    after which a peer's processes are ended, whatever they do; 0: none
    single_rows     rows to predict one by one
    memory_every_s  between looks at its memory
    """

    cores: tuple[int, ...]
    time_limit_s: float = 0.0
    wall_limit_s: float = 0.0
    single_rows: int = 200
    memory_every_s: float = 0.5


def run(
    python: str, adapter: str, pair: Pair, setting: dict[str, Any], limits: Limits, work: Path
) -> dict[str, Any]:
    """Run an adapter; return its events gathered, with precision and peak memory, or with what went wrong."""
    work.mkdir(parents=True, exist_ok=True)
    job = {
        "train": pair.train,
        "test": pair.test,
        "n_features": pair.n_features,
        "n_labels": pair.n_labels,
        "threads": len(limits.cores),
        "setting": setting,
        "work": str(work),
        "single_rows": limits.single_rows,
        "time_limit_s": limits.time_limit_s,
    }
    path = work / "job.json"
    path.write_text(json.dumps(job, indent=1))
    with (
        tempfile.TemporaryDirectory(dir=work) as scratch,
        open(work / "log.txt", "w") as log,
        _sigterm_raises(),
    ):
        process = subprocess.Popen(
            [python, str(ADAPTERS / f"run_{adapter}.py"), str(path)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=scratch,
            env={**os.environ, **dict.fromkeys(_THREAD_KEYS, str(len(limits.cores)))},
            preexec_fn=lambda: os.sched_setaffinity(0, limits.cores),
        )
        try:
            gathered, memory = _follow(process, limits)
        except BaseException:
            end_tree(process)
            raise
    result = gather(gathered, pair.test)
    result |= {"setting": setting, "peak_memory_bytes": memory}
    if result.get("notes", {}).get("ended_at_wall_limit"):
        result["error"] = f"not done within {limits.wall_limit_s:.0f} s"
    elif process.returncode != 0:
        result["error"] = _last_words(work / "log.txt", process.returncode)
    return result


def as_found(python: str) -> str:
    """Return an interpreter's absolute path, since it is started in another folder; a mere name as it is."""
    return os.path.abspath(python) if os.sep in python else python  # a link in an environment stays


def _follow(process: subprocess.Popen[str], limits: Limits) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Read a process's events to its end; return them and the peak of its memory, whole and by phase."""
    events: list[dict[str, Any]] = []
    meter = Meter(process.pid, limits)
    meter.start()
    timer = threading.Timer(limits.wall_limit_s or threading.TIMEOUT_MAX, end_late, [process, events])
    timer.daemon = True
    timer.start()
    assert process.stdout is not None
    try:
        with process.stdout:
            for line in process.stdout:
                event = json.loads(line)
                events.append(event)
                if event["event"] in ("begin", "end"):
                    meter.phase = event["phase"] if event["event"] == "begin" else "between"
        process.wait()
    finally:
        timer.cancel()
    meter.join()
    return events, meter.peaks


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, so that the adapter is ended too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_late(process: subprocess.Popen[str], events: list[dict[str, Any]]) -> None:
    """End a process and its descendants, and note that it was ended."""
    events.append({"event": "note", "ended_at_wall_limit": True})
    end_tree(process)


def end_tree(process: subprocess.Popen[str]) -> None:
    """End a process and its descendants: by SIGTERM, then by SIGKILL."""
    children: list[psutil.Process] = []
    with suppress(psutil.Error):
        children = psutil.Process(process.pid).children(recursive=True)
    for child in children:
        with suppress(psutil.Error):
            child.terminate()
    process.terminate()
    for child in psutil.wait_procs(children, _END_S)[1]:
        with suppress(psutil.Error):
            child.kill()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Meter(threading.Thread):
    """Looks at the memory of a process and its children: proportional set size, shared pages count once."""

    def __init__(self, pid: int, limits: Limits) -> None:
        super().__init__(daemon=True)
        self.phase = "start"
        self.peaks: dict[str, Any] = defaultdict(int)
        self._root, self._limits = psutil.Process(pid), limits

    def run(self) -> None:
        while self._root.is_running() and self._root.status() != psutil.STATUS_ZOMBIE:
            phase, used = self.phase, tree_memory(self._root)
            self.peaks[phase] = max(self.peaks[phase], used)
            self.peaks["whole"] = max(self.peaks["whole"], used)
            time.sleep(self._limits.memory_every_s)


def tree_memory(root: psutil.Process) -> int:
    """Return the bytes of memory of a process and its descendants, shared pages divided among them."""
    total = 0
    try:
        members = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    for member in members:
        try:
            total += member.memory_full_info().pss
        except (psutil.Error, OSError):
            continue
    return total


def gather(events: list[dict[str, Any]], test: str) -> dict[str, Any]:
    """Return an adapter's events as one dictionary; predictions become precision.

    phases       seconds of each phase
    predictions  by mode: P@k, seconds, rows/s
    curve        points in training: seconds, samples, P@k
    latency      by mode
    """
    out: dict[str, Any] = {"phases": {}, "predictions": {}, "curve": [], "latency": {}}
    for event in events:
        kind, fields = event["event"], {k: v for k, v in event.items() if k != "event"}
        if kind == "version":
            out["version"] = fields["version"]
        elif kind == "end":
            out["phases"][fields.pop("phase")] = fields
        elif kind == "predicted":
            found = precision_of_files(fields["path"], test)
            speed = fields["rows"] / fields["seconds"]
            kept = {"seconds": fields["seconds"], "rows": fields["rows"], "rows_per_s": speed}
            out["predictions"][fields["mode"]] = {**found, **kept}
        elif kind == "point":
            if "path" in fields:
                fields |= precision_of_files(fields.pop("path"), test)
            out["curve"].append(fields)
        elif kind == "latency":
            out["latency"][fields.pop("mode")] = fields
        elif kind == "note":
            out.setdefault("notes", {}).update(fields)
    train = out["phases"].get("train", {})
    out["train_s"] = train.get("train_s", train.get("seconds"))
    return out


def _last_words(log: Path, code: int) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"exit code {code}: " + " | ".join(lines[-3:])


def available(python: str, module: str) -> str:
    """Return "" where an interpreter can import a module, else why not."""
    try:
        found = subprocess.run(
            [python, "-c", f"import {module}"], capture_output=True, text=True, timeout=1200
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{python}: {error}"
    if found.returncode == 0:
        return ""
    return (found.stderr.strip().splitlines() or [f"exit code {found.returncode}"])[-1]
