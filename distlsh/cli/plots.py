"""Plots of a run, from the lines it wrote."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from distlsh.errors import UsageError
from distlsh.files import open_plain
from distlsh.protocol.reports import Evaluation, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MISSING = "matplotlib is not installed; install it with: pip install 'distlsh[plot]'"


def can_plot() -> bool:
    """Tell whether matplotlib is there, without importing it."""
    return importlib.util.find_spec("matplotlib") is not None


def write_plots(run_dir: Path) -> list[Path]:
    """Write ``plots/*.png`` of a run and return their paths.

    Reads ``metrics.jsonl`` and ``eval.jsonl``; a last line that is cut off is left out.
    Raises UsageError where matplotlib or the run is missing.
    """
    if not can_plot():
        raise UsageError(MISSING)
    reports = [line for line in _lines(run_dir / "metrics.jsonl", Report) if line.phase == "train"]
    evaluations = _lines(run_dir / "eval.jsonl", Evaluation)
    if not reports and not evaluations:
        raise UsageError(f"{run_dir}: nothing to plot: metrics.jsonl and eval.jsonl are missing or empty")
    folder = run_dir / "plots"
    folder.mkdir(exist_ok=True)
    return [
        _write(folder / "p_at_1.png", "P@1", lambda axes: _precision(axes, evaluations)),
        _write(folder / "loss.png", "training loss", lambda axes: _over_time(axes, reports, "loss")),
        _write(folder / "throughput.png", "samples/s", lambda axes: _throughput(axes, reports)),
        _write(
            folder / "table_recall.png", "recall of the exact top", lambda axes: _recall(axes, evaluations)
        ),
    ]


def _lines(path: Path, kind: Any) -> list[Any]:
    try:
        with open_plain(path) as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise UsageError(f"{path}: cannot be read ({error}); name the directory of a run") from None
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=kind))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
    return found


def _write(path: Path, title: str, draw: Callable[[Axes], None]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    draw(axes)
    axes.set(xlabel="training time (s)", ylabel=title)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[1]:
        axes.legend()
    figure.savefig(path, dpi=120)
    return path


def _precision(axes: Axes, evaluations: list[Evaluation]) -> None:
    for kind, marker in (("subset", "o-"), ("final", "*")):
        chosen = [e for e in evaluations if e.kind == kind or (kind == "subset" and e.kind == "initial")]
        if chosen:
            times = [e.train_s for e in chosen]
            axes.plot(times, [e.p_at_1 for e in chosen], marker, label=f"exact, {kind}", markersize=9)
        by_lsh = [(e.train_s, e.lsh_p_at_1) for e in chosen if e.lsh_p_at_1 is not None]
        if by_lsh:
            axes.plot(*zip(*by_lsh, strict=True), marker, label=f"LSH, {kind}", alpha=0.6)


def _over_time(axes: Axes, reports: list[Report], name: str) -> None:
    points = [(r.train_s, getattr(r, name)) for r in reports if getattr(r, name) is not None]
    axes.plot([time for time, _ in points], [value for _, value in points])


def _throughput(axes: Axes, reports: list[Report]) -> None:
    times = [r.train_s for r in reports]
    axes.plot(times, [r.samples_per_s for r in reports], label="all")
    workers = max((len(r.worker_samples_per_s) for r in reports), default=0)
    for worker in range(workers if workers > 1 else 0):
        one = [r for r in reports if len(r.worker_samples_per_s) > worker]
        axes.plot(
            [r.train_s for r in one],
            [r.worker_samples_per_s[worker] for r in one],
            alpha=0.5,
            label=f"worker {worker}",
        )
    axes.set_ylim(bottom=0)


def _recall(axes: Axes, evaluations: list[Evaluation]) -> None:
    for name, label in (("table_recall_at_1", "top 1"), ("table_recall_at_10", "top 10")):
        points = [(e.train_s, getattr(e, name)) for e in evaluations if getattr(e, name) is not None]
        if points:
            axes.plot([time for time, _ in points], [value for _, value in points], "o-", label=label)
    axes.set_ylim(0, 1)
