"""How training scales: the same run with each number of workers, in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

import msgspec

from distlsh.config.schema import Config
from distlsh.errors import UsageError
from distlsh.protocol.reports import Summary
from distlsh.runtime.launch import run

_EVAL_ROWS = 2000
_MEDIANS = (
    "samples_per_s", "steps_s", "pretrained_per_s", "pretrain_s", "p_at_1",
    "rehash_share", "table_stale_mean", "table_age_s", "conflicts",
)  # fmt: skip


class ScalingRun(msgspec.Struct, kw_only=True):
    """One run, or the medians of several with as many workers."""

    workers: int
    samples: int
    steps_s: float  # of training, from the first step on: waits for refreshes included, warm start not
    samples_per_s: float  # samples / steps_s
    pretrained_per_s: float | None  # samples of the pretraining a second; None without
    pretrain_s: float | None
    p_at_1: float | None
    cpu_s: dict[str, float]  # of the whole run, by role
    rehash_share: float | None  # rehasher's seconds of a core while training over the workers'
    table_stale_mean: float | None  # share of the codes hashed again that had changed
    table_age_s: float | None
    conflicts: float | None  # share of active outputs that another worker had at once
    efficiency: float | None = None  # throughput over the fewest workers', each worker's part
    pretrain_efficiency: float | None = None


class Scaling(msgspec.Struct, kw_only=True):
    """Medians, one a number of workers, ascending; and all runs in the order they were made."""

    rows: list[ScalingRow]
    runs: list[ScalingRun]


class ScalingRow(ScalingRun, kw_only=True):
    """Medians of ``runs`` runs."""

    runs: int


def measure(
    config: Config,
    workers: Sequence[int],
    repeat: int = 3,
    *,
    conflicts: bool = True,
    on_run: Callable[[ScalingRun], None] = lambda found: None,
) -> Scaling:
    """Train ``config`` with each number of workers ``repeat`` times, in turns; all on the same samples.

    conflicts  count HOGWILD's conflicts, which costs each side a percent or so
    on_run     called after each run

    Runs are evaluated at their end alone and removed.  Raises UsageError for counts below 1.
    """
    counts = sorted(set(workers))
    if not counts or counts[0] < 1 or repeat < 1:
        raise UsageError(
            f"workers {list(workers)}, repeat {repeat}: give numbers of workers and repetitions from 1"
        )
    runs = []
    for turn in range(repeat):
        # Every other turn backwards: what warms up or slows down over time meets all sides alike.
        for n in counts if turn % 2 == 0 else reversed(counts):
            runs.append(_run(_of(config, n, conflicts)))
            on_run(runs[-1])
    return Scaling(rows=_rows(runs), runs=runs)


def _of(config: Config, workers: int, conflicts: bool) -> Config:
    replace = msgspec.structs.replace
    rows = config.eval.final_rows or _EVAL_ROWS
    return replace(
        config,
        run=replace(config.run, workers=workers, conflicts=conflicts),
        eval=replace(config.eval, initial=False, n_rows=0, interval=0, final_rows=rows),
        checkpoint=replace(config.checkpoint, optimizer_state=False),
    )


def _run(config: Config) -> ScalingRun:
    with tempfile.TemporaryDirectory(prefix="distlsh-scaling-") as folder:
        return figures(run(config, run_dir=Path(folder) / "run"))


def figures(summary: Summary) -> ScalingRun:
    """Return what one run says of scaling."""
    steps_s = summary.stage_s.get("train", 0.0) + summary.stage_s.get("rehash", 0.0)
    return ScalingRun(
        workers=summary.workers,
        samples=summary.samples,
        steps_s=round(steps_s, 3),
        samples_per_s=round(summary.samples / max(steps_s, 1e-9), 1),
        pretrained_per_s=round(summary.pretrained / summary.pretrain_s, 1) if summary.pretrain_s else None,
        pretrain_s=summary.pretrain_s or None,
        p_at_1=summary.p_at_1,
        cpu_s=summary.cpu_s,
        rehash_share=summary.rehash_share,
        table_stale_mean=summary.table_stale_mean,
        table_age_s=summary.table_age_s_mean,
        conflicts=summary.conflict_rate,
    )


def _rows(runs: Sequence[ScalingRun]) -> list[ScalingRow]:
    rows = [_row([one for one in runs if one.workers == n]) for n in sorted({one.workers for one in runs})]
    first = rows[0]
    for row in rows:
        times = first.workers / row.workers
        row.efficiency = round(times * row.samples_per_s / first.samples_per_s, 4)
        if row.pretrained_per_s and first.pretrained_per_s:
            row.pretrain_efficiency = round(times * row.pretrained_per_s / first.pretrained_per_s, 4)
    return rows


def _row(runs: Sequence[ScalingRun]) -> ScalingRow:
    roles = dict.fromkeys(role for one in runs for role in one.cpu_s)
    cpu_s = {role: _median(one.cpu_s.get(role) for one in runs) or 0.0 for role in roles}
    middle = {name: _median(getattr(one, name) for one in runs) for name in _MEDIANS}
    return ScalingRow(
        workers=runs[0].workers, samples=runs[0].samples, runs=len(runs), cpu_s=cpu_s, **middle  # type: ignore[arg-type]
    )  # fmt: skip


def _median(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return float(median(found)) if found else None
