"""How long a lost process is missed, what the others do meanwhile, and how long a stop takes.

    python benchmarks/recovery.py                 # the quickstart, two workers

A run is trained in this process and disturbed from a thread; then the command is stopped by signals.
Exit code 0 only if a killed worker was back, and a second signal had ended the run, within `PROMISED_S`, and
the other worker's chunks came at most `MARGIN_S` further apart than in an undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import psutil

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from endings import end
from results import write

from distlsh.config.load import load_config
from distlsh.errors import RunInterrupted
from distlsh.protocol.messages import WorkerMetrics
from distlsh.protocol.reports import Notice
from distlsh.runtime.launch import run
from distlsh.runtime.observer import Silent
from distlsh.runtime.prctl import ending_with_caller
from distlsh.runtime.stop_signals import interrupted_by_signals
from distlsh.transport.metrics import subscribe

LONG = ("train.epochs=100000", "eval.n_rows=0", "eval.initial=false", "run.max_restarts=1000")
STOPS = {
    "training": ([], lambda line: line["samples"] > 0 and line["phase"] == "train"),
    "training, long chunks": (["train.chunk_size=30000"], lambda line: line["samples"] > 0),
    "evaluating": (["eval.n_rows=10000", "eval.interval=1"], lambda line: line["phase"] == "evaluate"),
    "pretraining": (
        ["pretrain.epochs=100", "pretrain.pool=16384"],
        lambda line: line["phase"] == "pretrain" and line["samples_per_s"] > 0,
    ),
}
BETWEEN_S = 0.5
PROMISED_S = 2.0
MARGIN_S = 1.0
"""On a machine with other work, chunks of an undisturbed run differ by as much."""


class Disturbed(Silent):
    """Strikes a run from a thread, while another notes when each worker ends a chunk."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.done = False
        self.found: dict[str, dict[str, Any]] = {}
        self._back: list[tuple[str, float]] = []
        self._chunks: dict[str, list[float]] = {"worker-0": [], "worker-1": []}
        self._threads: list[threading.Thread] = []

    def notice(self, notice: Notice) -> None:
        """Note who is back; begin once the run can be heard."""
        if " is back " in notice.text:
            self._back.append((notice.text.split()[0], time.monotonic()))
        if "published at ipc" in notice.text and not self._threads:
            where = notice.text.split()[-1]
            self._threads = [
                threading.Thread(target=self._listen, args=(where,), daemon=True),
                threading.Thread(target=self._strike, daemon=True),
            ]
            for thread in self._threads:
                thread.start()

    def _listen(self, where: str) -> None:
        for metric in subscribe(where, topic="worker"):
            if isinstance(metric, WorkerMetrics):
                self._chunks[metric.role].append(time.monotonic())

    def _strike(self) -> None:
        while min(map(len, self._chunks.values())) < 20:
            time.sleep(0.1)
        self._measure("nothing", lambda: time.sleep(BETWEEN_S))
        self._measure("worker killed", lambda: self._until_back("worker-1", signal.SIGKILL))
        self._measure("worker stopped", lambda: self._until_back("worker-1", signal.SIGSTOP), self.n // 4)
        self._measure("rehasher killed", lambda: self._until_back("rehasher", signal.SIGKILL), self.n // 2)
        self._measure("fork server killed", self._kill_server, self.n // 4)
        self._measure("fork server stopped, worker killed", self._stop_server, self.n // 4)
        self.done = True
        os.kill(os.getpid(), signal.SIGINT)

    def _measure(self, what: str, act: Callable[[], object], n: int | None = None) -> None:
        """Do it ``n`` times; note its seconds, and the longest time without a chunk of worker 0."""
        seconds, gaps = [], []
        for _ in range(n or self.n):
            time.sleep(BETWEEN_S)
            began = time.monotonic()
            act()
            ended = time.monotonic()
            chunks = self._chunks["worker-0"]
            while chunks[-1] < ended:
                time.sleep(0.01)
            around = [max(at for at in chunks if at < began), *(at for at in chunks if at >= began)]
            seconds.append(ended - began)
            gaps.append(max(b - a for a, b in pairwise(around)))
        self.found[what] = {"seconds": _figures(seconds), "longest_without_chunk_s": _figures(gaps)}
        print(what, json.dumps(self.found[what]), flush=True)

    def _until_back(self, role: str, number: int) -> None:
        before = len(self._back)
        named(role).send_signal(number)
        while not any(one == role for one, _ in self._back[before:]):
            time.sleep(0.001)

    def _kill_server(self) -> None:
        server = named("forkserver")
        server.kill()
        while server.is_running():
            time.sleep(0.001)
        while not any(p.name() == "forkserver" for p in psutil.Process().children()):
            time.sleep(0.001)

    def _stop_server(self) -> None:
        named("forkserver").send_signal(signal.SIGSTOP)
        self._until_back("worker-1", signal.SIGKILL)


def named(name: str) -> psutil.Process:
    """Find a process of this run; it may have just been started."""
    while True:
        for process in psutil.Process().children(recursive=True):
            try:
                if process.name() == name and process.status() != psutil.STATUS_ZOMBIE:
                    return process
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.01)


def recoveries(settings: Sequence[str], n: int, folder: Path) -> dict[str, Any]:
    """Train and disturb; return the figures of each kind of fault."""
    config = load_config("quickstart", [*settings, *LONG], workers=2)
    disturbed = Disturbed(n)
    try:
        run(config, observer=disturbed, run_dir=folder / "run")
    except RunInterrupted:
        if not disturbed.done:
            raise KeyboardInterrupt from None  # whoever sent that signal wants no measurement
        return disturbed.found
    raise AssertionError("the run ended before it was stopped")


def stops(settings: Sequence[str], n: int, folder: Path) -> dict[str, Any]:
    """Start the command, send it one or two SIGTERMs, and return the seconds to its end."""
    found: dict[str, Any] = {}
    for moment, (more, there) in STOPS.items():
        for signals in (1, 2):
            name = f"{moment}, {'second' if signals == 2 else 'first'} signal"
            taken = [_stop([*settings, *LONG, *more], there, signals, folder / f"{i}") for i in range(n)]
            found[name] = {"seconds": _figures(taken)}
            print(name, json.dumps(found[name]), flush=True)
    return found


def _stop(settings: Sequence[str], there: Callable[[Any], bool], signals: int, folder: Path) -> float:
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        path = Path(name) / "run"
        command = [sys.executable, "-m", "distlsh.cli.launch", "--workers", "2", "--run-dir", str(path)]
        for setting in [*settings, "run.report_s=0.05"]:
            command += ["--set", setting]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=ending_with_caller()
        )
        try:
            while not there(_last(path / "metrics.jsonl")):
                time.sleep(0.005)
            for _ in range(signals - 1):
                process.send_signal(signal.SIGTERM)
                time.sleep(0.31)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait()
            return time.monotonic() - began
        finally:
            end(process)


def _last(metrics: Path) -> dict[str, Any]:
    nothing = {"samples": 0, "phase": "", "samples_per_s": 0}
    try:
        return dict(json.loads(metrics.read_text().splitlines()[-1]))
    except (OSError, IndexError, ValueError):
        return nothing


def _figures(values: Sequence[float]) -> dict[str, float]:
    return {
        "n": len(values),
        "median": round(statistics.median(values), 3),
        "worst": round(max(values), 3),
    }


class Verdict(NamedTuple):
    """One promise: the worst seconds, and how many it may take."""

    what: str
    worst_s: float
    bound_s: float

    def __str__(self) -> str:
        mark = "holds" if self.worst_s <= self.bound_s else "FAILS"
        return f"{mark}  {self.what}: {self.worst_s:.2f} s (bound {self.bound_s:.2f})"


def judge(data: dict[str, Any]) -> list[Verdict]:
    """Return the verdict on each promise that was measured."""
    found, verdicts = data.get("recoveries", {}), []
    if found:
        verdicts.append(Verdict("a killed worker is back", _worst(found["worker killed"]), PROMISED_S))
        gap = "longest_without_chunk_s"
        usual = _worst(found["nothing"], gap)
        verdicts += [
            Verdict(f"the other worker's chunks, {what}", _worst(one, gap), usual + MARGIN_S)
            for what, one in found.items()
            if what != "nothing"
        ]
    return verdicts + [
        Verdict(f"{name} ends", _worst(one), PROMISED_S)
        for name, one in data.get("stops", {}).items()
        if name.endswith("second signal")
    ]


def _worst(one: dict[str, Any], what: str = "seconds") -> float:
    return float(one[what]["worst"])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 0 if all promises are kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--n", type=int, default=20, help="faults of a kind (default 20); a quarter of slow ones"
    )
    parser.add_argument("--stops", type=int, default=5, help="stops of a kind (default 5)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--output", type=Path, help="JSON to write (default: results/recovery.json)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="distlsh-recovery-") as name:
        settings = [f"data.cache_dir={name}/cache", "pretrain.epochs=0", *args.settings]
        data = {"recoveries": recoveries(settings, args.n, Path(name))} if args.n else {}
        if args.stops:
            data["stops"] = stops(settings, args.stops, Path(name))
    data["load_average"] = round(os.getloadavg()[1], 1)
    verdicts = judge(data)
    data["verdicts"] = [one._asdict() for one in verdicts]
    if args.output is not None:
        args.output.write_text(json.dumps(data, indent=1) + "\n")
    else:
        print("written:", write("recovery", data))
    for one in verdicts:
        print(one)
    kept = all(one.worst_s <= one.bound_s for one in verdicts)
    print("PASS" if kept else "FAIL")
    return 0 if kept else 1


if __name__ == "__main__":
    with interrupted_by_signals():
        sys.exit(main())
