"""What ``distlsh bench scaling`` shows and writes."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from distlsh.cli.format import count, duration, metric, share
from distlsh.cli.host import describe_host
from distlsh.cli.plots import MISSING, can_plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from distlsh.config.schema import Config
    from distlsh.runtime.scaling import Scaling, ScalingRun

_ROLES = ("workers", "rehasher", "coordinator")
_FIGURES = (
    "samples/s", "speed-up", "efficiency", "pretraining: samples/s", "pretraining: efficiency", "P@1",
    *(f"cores: {role}" for role in _ROLES), "rehash share", "stale codes", "table age", "conflicts",
)  # fmt: skip


def progress_line(one: ScalingRun) -> str:
    """Return a line for a run that has just ended."""
    return f"{one.workers} workers: {count(one.samples_per_s)} samples/s, P@1 {metric(one.p_at_1)}"


def show(found: Scaling) -> None:
    """Print the medians as a table, a column a number of workers."""
    from rich.console import Console
    from rich.table import Table

    table = Table("workers", title=f"{found.rows[0].samples:,} samples each, medians of {found.rows[0].runs}")
    for row in found.rows:
        table.add_column(str(row.workers), justify="right")
    for name, *cells in zip(_FIGURES, *cells_of(found), strict=True):
        table.add_row(name, *cells)
    Console().print(table)


def cells_of(found: Scaling) -> list[tuple[str, ...]]:
    """Return each number of workers' figures."""
    base = found.rows[0].samples_per_s
    return [
        (
            count(row.samples_per_s),
            f"{row.samples_per_s / base:.2f}",
            share(row.efficiency),
            count(row.pretrained_per_s),
            share(row.pretrain_efficiency),
            metric(row.p_at_1),
            *(duration(row.cpu_s.get(role)) for role in _ROLES),
            share(row.rehash_share),
            share(row.table_stale_mean),
            duration(row.table_age_s),
            share(row.conflicts),
        )
        for row in found.rows
    ]


def write_json(found: Scaling, config: Config, path: Path) -> Path:
    """Write date, machine, medians, runs and configuration, of files their names; return the path."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    names = {key: Path(file).name for key in ("train", "test") if (file := getattr(config.data, key))}
    data = msgspec.structs.replace(config.data, **names, cache_dir=None)
    config = msgspec.structs.replace(config, data=data)
    whole: dict[str, Any] = {
        "benchmark": "scaling",
        "date": today,
        "machine": describe_host(),
        "config": config,
    }
    whole |= {"rows": found.rows, "runs": found.runs}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n")
    return path


def draw(found: Scaling, path: Path) -> list[Path]:
    """Write the picture beside ``path`` as SVG and PNG; without matplotlib say so and write nothing."""
    if not can_plot():
        print(f"no picture: {MISSING}")
        return []
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    speed, accuracy, costs = figure.subplots(1, 3)
    _speed(speed, found)
    _accuracy(accuracy, found)
    _costs(costs, found)
    written = [path.with_suffix(suffix) for suffix in (".svg", ".png")]
    for file in written:
        figure.savefig(file, dpi=120, metadata={"Date": None} if file.suffix == ".svg" else None)
    return written


def _speed(axes: Axes, found: Scaling) -> None:
    workers = [row.workers for row in found.rows]
    base = found.rows[0].samples_per_s / workers[0]
    axes.plot([one.workers for one in found.runs], [one.samples_per_s for one in found.runs], ".", alpha=0.5)
    axes.plot(workers, [row.samples_per_s for row in found.rows], "o-", label="median")
    axes.plot(workers, [base * n for n in workers], "--", color="grey", label="linear")
    axes.set(xlabel="workers", ylabel="samples/s", ylim=(0, None), xticks=workers)
    axes.legend()


def _accuracy(axes: Axes, found: Scaling) -> None:
    points = [(one.workers, one.p_at_1) for one in found.runs if one.p_at_1 is not None]
    axes.plot([n for n, _ in points], [p_at_1 for _, p_at_1 in points], "o")
    top = 1.15 * max((p_at_1 for _, p_at_1 in points), default=1.0)
    axes.set(xlabel="workers", ylabel="P@1 after the same samples", ylim=(0, top or 1.0))
    axes.set_xticks([row.workers for row in found.rows])


def _costs(axes: Axes, found: Scaling) -> None:
    workers = [str(row.workers) for row in found.rows]
    below = [0.0] * len(workers)
    for role in _ROLES:
        seconds = [row.cpu_s.get(role, 0.0) for row in found.rows]
        axes.bar(workers, seconds, bottom=below, label=role)
        below = [sum(pair) for pair in zip(below, seconds, strict=True)]
    axes.set(xlabel="workers", ylabel="seconds of a core, whole run")
    axes.legend()
