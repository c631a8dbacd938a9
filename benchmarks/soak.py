"""A long run, watched: memory, descriptors, threads, segments and files must stay flat.

    python benchmarks/soak.py --minutes 60

Trains with evaluations, checkpoints and refreshes every few seconds, stops with SIGINT at the end, and looks
for leftovers.  Growth is the slope of each series after a warm-up (the median of the slopes of all pairs of
samples), times the time watched.  Exit code 0 only if all is flat.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from results import write

from distlsh.config.schema import Config
from distlsh.errors import DistlshError
from distlsh.runtime.chaos import sight
from distlsh.runtime.chaos.prepare import base_config
from distlsh.runtime.chaos.target import Target, kill
from distlsh.runtime.stop_signals import interrupted_by_signals

MIB = 1 << 20
WARM_UP = 0.2
"""Share of the time that is left out: kernels are loaded, buffers grow to their size."""

ROOM_BYTES, ROOM_BYTES_AN_HOUR = 2 * MIB, 2 * MIB
"""What a process's own memory may grow: allocators keep a little more as time goes on."""

EPOCHS = 1_000_000
OFTEN = (
    "eval.interval=60000",
    "checkpoint.interval=60000",
    "rehash.initial_interval=10000",
    "rehash.decay=0",
)
GROWING = ("metrics", "eval.jsonl", "logs")
"""What a run writes as it goes on; bounded elsewhere, or a line an evaluation."""

_FIELDS = re.compile(r"^(Rss|Pss|Anonymous|Private_Dirty):\s+(\d+) kB", re.MULTILINE)
_PAIRS = 400  # samples a series has at most, when slopes are taken
_END_S = 60.0
_COMPILE_S = 900.0  # of a machine that is busy with other things


class Series(msgspec.Struct):
    """One thing that must not grow.

    growth    over the time watched, the warm-up left out
    per_hour  the same in an hour
    bound     of growth
    """

    name: str
    unit: str
    first: float
    last: float
    growth: float
    per_hour: float
    bound: float

    @property
    def flat(self) -> bool:
        """Whether it has not grown."""
        return self.growth <= self.bound


def memory_of(pid: int) -> dict[str, int]:
    """Return bytes of a process by kind; empty where it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return {}
    return {name: int(kb) * 1024 for name, kb in _FIELDS.findall(text)}


def sample(target: Target, began: float) -> dict[str, Any]:
    """Return what the run holds at this moment."""
    row: dict[str, Any] = {"at_s": round(time.monotonic() - began, 2), "memory": {}, "counts": {}}
    for one in target.processes():
        role = "coordinator" if one.pid == target.life.pid else one.name
        memory = memory_of(one.pid)
        if not memory:
            continue
        row["memory"][role] = memory
        row["counts"][f"descriptors of {role}"] = len(sight.descriptors(one.pid))
        with contextlib.suppress(OSError):
            row["counts"][f"threads of {role}"] = len(os.listdir(f"/proc/{one.pid}/task"))
    row["counts"]["processes"] = len(row["memory"])
    row["counts"]["segments"] = len(sight.segments(target.life.pid))
    row["counts"]["files of sockets"] = len(_files(target.own))
    written = _files(target.run_dir)
    lasting = [path for path in written if not _growing(path)]
    row["counts"]["files of the run"] = len(lasting)
    row["run_bytes"] = sum(_size(path) for path in lasting)
    row["log_bytes"] = sum(_size(path) for path in written if _growing(path))
    return row


def _files(folder: Path) -> list[Path]:
    # Not Path.rglob: it fails where a folder goes while it looks.
    return [Path(where, name) for where, _, names in os.walk(folder) for name in names]


def _growing(path: Path) -> bool:
    return any(part.startswith(GROWING) for part in path.parts[-2:])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def slope(at: np.ndarray, values: np.ndarray) -> float:
    """Return the median slope of all pairs of samples: one odd moment changes nothing."""
    step = max(1, len(at) // _PAIRS)
    at, values = at[::step], values[::step]
    i, j = np.triu_indices(len(at), 1)
    return float(np.median((values[j] - values[i]) / (at[j] - at[i]))) if len(i) else 0.0


def judge(rows: Sequence[dict[str, Any]]) -> list[Series]:
    """Return the growth of every series of `sample`; the first `WARM_UP` of the time is left out."""
    first = WARM_UP * rows[-1]["at_s"]
    rows = [row for row in rows if row["at_s"] >= first]
    hours = (rows[-1]["at_s"] - rows[0]["at_s"]) / 3600
    found = []
    for role in sorted({role for row in rows for role in row["memory"]}):
        points = [(row["at_s"], row["memory"][role]["Anonymous"]) for row in rows if role in row["memory"]]
        bound = ROOM_BYTES + ROOM_BYTES_AN_HOUR * hours
        found.append(_series(f"memory of {role}", "bytes", points, bound))
    for name in sorted({name for row in rows for name in row["counts"]}):
        points = [(row["at_s"], row["counts"][name]) for row in rows if name in row["counts"]]
        found.append(_counted(name, points))
    points = [(row["at_s"], row["run_bytes"]) for row in rows]
    return [*found, _series("bytes of the run's files", "bytes", points, ROOM_BYTES)]


def _series(name: str, unit: str, points: list[tuple[float, float]], bound: float) -> Series:
    at, values = (np.array(column, np.float64) for column in zip(*points, strict=True))
    seconds = at[-1] - at[0]
    found = slope(at, values)
    ends = float(values[0]), float(values[-1])
    return Series(name, unit, *ends, float(found * seconds), found * 3600, bound)


def _counted(name: str, points: list[tuple[float, float]]) -> Series:
    """Compare the ends: a count that comes and goes has no slope, one that leaks stays up."""
    at, values = (np.array(column, np.float64) for column in zip(*points, strict=True))
    fifth = max(1, len(values) // 5)
    # The lowest: what is open for a moment, such as a checkpoint's file, is not kept.
    growth = float(values[-fifth:].min() - values[:fifth].min())
    hours = max(at[-1] - at[0], 1e-9) / 3600
    return Series(name, "", float(values[0]), float(values[-1]), growth, float(growth / hours), 0.5)


def soak(
    config: Config, root: Path, minutes: float, interval_s: float
) -> tuple[list[dict[str, Any]], list[str]]:
    """Train for so long and return the samples, and what was left at the end."""
    target = Target(root, "run")
    try:
        target.start(config)
        if not target.until(lambda: _trains(target), _COMPILE_S):
            raise DistlshError(f"the run does not train; its output is in {target.output}")
        kept = root / "run/checkpoints"  # from then on as many as stay
        if not target.until(lambda: len(list(kept.glob("[!.]*"))) >= config.checkpoint.keep):
            raise DistlshError(f"the run saves nothing; its output is in {target.output}")
        rows, began = [], time.monotonic()
        while target.life.alive and time.monotonic() - began < 60 * minutes:
            rows.append(sample(target, began))
            time.sleep(interval_s)
        if not target.life.alive:
            raise DistlshError(f"the run ended with code {target.life.code}; see {target.output}")
        kill(target.life.pid, signal.SIGINT)
        code = target.finish(_END_S)
        return rows, [*([f"exit code {code}"] if code != 130 else []), *target.left()]
    finally:
        target.close()


def _trains(target: Target) -> bool:
    ear = target.life.ear
    return ear is not None and ear.training() is not None


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw each process's own memory, and the descriptors, over time."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    memory, counts = figure.subplots(2, sharex=True)
    hours = len(rows) and rows[-1]["at_s"] / 60
    for role in sorted({role for row in rows for role in row["memory"]}):
        points = [
            (row["at_s"] / 60, row["memory"][role]["Anonymous"] / MIB)
            for row in rows
            if role in row["memory"]
        ]
        memory.plot(*zip(*points, strict=True), label=role, linewidth=1)
    for name in sorted({name for row in rows for name in row["counts"] if name.startswith("descriptors")}):
        points = [(row["at_s"] / 60, row["counts"][name]) for row in rows if name in row["counts"]]
        counts.plot(*zip(*points, strict=True), label=name.removeprefix("descriptors of "), linewidth=1)
    memory.set_ylabel("own memory, MiB")
    counts.set_ylabel("descriptors")
    counts.set_xlabel(f"minutes of training, evaluations and checkpoints (of {hours:.0f})")
    for axes in (memory, counts):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, ncols=3)
    return figure


def line(one: Series) -> str:
    """Return a line for people."""
    scale, unit = (MIB, " MiB") if one.unit == "bytes" else (1, "")
    first, last, growth, hour, bound = (
        f"{value / scale:.2f}" for value in (one.first, one.last, one.growth, one.per_hour, one.bound)
    )
    return (
        f"{'flat' if one.flat else 'GROWS':6}{one.name:32}{first:>9} to {last:>9}{unit}   "
        f"{'by its slope' if one.unit else 'more by'} {growth}{unit}, {hour}{unit} an hour (bound {bound})"
    )


def memory(found: Sequence[Series]) -> dict[str, dict[str, float]]:
    """Return MiB of each process's own memory: first and last after the warm-up, and what the slope says.

    A step is in the last and not in the slope.
    """
    return {
        one.name.removeprefix("memory of "): {
            "first": round(one.first / MIB, 2),
            "last": round(one.last / MIB, 2),
            "grown_by_slope": round(one.growth / MIB, 2),
            "an_hour": round(one.per_hour / MIB, 2),
        }
        for one in found
        if one.name.startswith("memory of ")
    }


def watched(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return as many samples as a file should hold."""
    return list(rows[:: max(1, len(rows) // 240)])


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, write; return 0 if all is flat and nothing is left."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between samples")
    parser.add_argument("--config", help="as for distlsh-launch (default: small generated data)")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument(
        "--output", type=Path, help="JSON to write, with no picture (default: results/soak.json)"
    )
    args = parser.parse_args(argv)
    root = Path(tempfile.mkdtemp(prefix="distlsh-soak-"))
    try:
        settings = [*OFTEN, f"train.epochs={EPOCHS}", *args.overrides]
        config = base_config(args.config, settings, args.workers, root / "cache")
        rows, left = soak(config, root, args.minutes, args.interval)
        evaluations, checkpoints = _done(root / "run")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    found = judge(rows)
    for one in found:
        print(line(one))
    print(
        f"{evaluations} evaluations, {checkpoints} checkpoints; left behind: {', '.join(left) or 'nothing'}"
    )
    holds = not left and all(one.flat for one in found)
    data = {
        "minutes": args.minutes,
        "workers": args.workers,
        "holds": holds,
        "evaluations": evaluations,
        "checkpoints": checkpoints,
        "left": left,
        "memory_mib": memory(found),
        "series": [msgspec.to_builtins(one) for one in found],
        "samples": watched(rows),
    }
    if args.output is not None:
        args.output.write_text(json.dumps(data, indent=1) + "\n")
    else:
        print(write("soak", data, draw(rows)))
    print("PASS" if holds else "FAIL")
    return 0 if holds else 1


def _done(run_dir: Path) -> tuple[int, int]:
    """Return how many evaluations and checkpoints the run made."""
    lines = (run_dir / "eval.jsonl").read_text().splitlines()
    sequences = [
        json.loads(path.read_text().partition('"content":\n')[2].rsplit("}", 1)[0])["sequence"]
        for path in run_dir.glob("checkpoints/*/manifest.json")
    ]
    return len(lines), max(sequences, default=0)


if __name__ == "__main__":
    with interrupted_by_signals():
        sys.exit(main())
