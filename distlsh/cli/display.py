"""What a person sees of a run: a live picture on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from distlsh.cli.errors import silence
from distlsh.cli.format import count, duration, metric, number, share
from distlsh.config.schema import Config
from distlsh.constants import PRETRAIN
from distlsh.protocol.reports import Evaluation, Notice, Rehash, Report, Summary
from distlsh.runtime.observer import Silent

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_PLAIN_INTERVAL_S = 5.0
_MAX_WORKERS_SHOWN = 8
_KEPT = ("loss", "n_active_mean", "rows_updated_mean", "mac_fraction", "lr")


def make_display(*, quiet: bool = False) -> Display:
    """Return the display that fits standard output: a terminal, a file or a pipe."""
    if quiet:
        return Enduring(Display())
    from rich.console import Console

    console = Console(highlight=False)
    live = console.is_terminal and not console.is_dumb_terminal
    return Enduring(LiveDisplay(console) if live else PlainDisplay(console))


class Display(Silent):
    """The quiet display, and the base of the others: warnings alone, on standard error."""

    def notice(self, notice: Notice) -> None:
        """Print warnings."""
        if notice.level == "warning":
            print(f"warning: {notice.text}", file=sys.stderr, flush=True)


class Enduring(Display):
    """Another display, and silence once it cannot be written to: a closed terminal ends no run."""

    def __init__(self, display: Display) -> None:
        self.shown: Display | None = display

    def parsing(self, path: Path) -> None:
        self._show(lambda display: display.parsing(path))

    def start(self, config: Config, run_dir: Path) -> None:
        self._show(lambda display: display.start(config, run_dir))

    def report(self, report: Report) -> None:
        self._show(lambda display: display.report(report))

    def evaluation(self, evaluation: Evaluation) -> None:
        self._show(lambda display: display.evaluation(evaluation))

    def rehash(self, rehash: Rehash) -> None:
        self._show(lambda display: display.rehash(rehash))

    def notice(self, notice: Notice) -> None:
        self._show(lambda display: display.notice(notice))

    def summary(self, summary: Summary) -> None:
        self._show(lambda display: display.summary(summary))

    def close(self) -> None:
        self._show(lambda display: display.close())

    def _show(self, show: Callable[[Display], None]) -> None:
        if self.shown is None:
            return
        try:
            show(self.shown)
        except OSError:
            self.shown = None
            silence()


class PlainDisplay(Display):
    """A line now and then: for logs, pipes and batch jobs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._time_s = 0.0
        self._shown_s = -_PLAIN_INTERVAL_S
        self._phase = ""

    def parsing(self, path: Path) -> None:
        self._line(parsing_line(path))

    def start(self, config: Config, run_dir: Path) -> None:
        workers = config.run.workers
        self._line(f"run {run_dir}, {workers} worker{'' if workers == 1 else 's'}")

    def report(self, report: Report) -> None:
        self._time_s = report.time_s
        due = report.time_s - self._shown_s >= _PLAIN_INTERVAL_S
        if not due and report.phase == self._phase:
            return
        self._phase, self._shown_s = report.phase, report.time_s
        self._line(report_line(report))

    def evaluation(self, evaluation: Evaluation) -> None:
        self._line(evaluation_line(evaluation))

    def notice(self, notice: Notice) -> None:
        self._line(f"warning: {notice.text}" if notice.level == "warning" else notice.text)

    def summary(self, summary: Summary) -> None:
        from distlsh.cli.summary import summary_table

        self._console.print(summary_table(summary), soft_wrap=True)

    def _line(self, text: str) -> None:
        print(f"[{self._time_s:7.1f} s] {text}", file=self._console.file, flush=True)


class LiveDisplay(Display):
    """A picture that is drawn again with every report; what is worth keeping scrolls above it."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console = console
        # No refresh thread: the coordinator forks nothing itself, but signals stay simple without.
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._title = ""
        self._report: Report | None = None
        self._evaluation: Evaluation | None = None
        self._rehash: Rehash | None = None
        self._drawn_s = 0.0

    def parsing(self, path: Path) -> None:
        from rich.text import Text

        self._console.print(Text(parsing_line(path), style="dim"))

    def start(self, config: Config, run_dir: Path) -> None:
        workers = config.run.workers
        self._title = f"{run_dir}  {workers} worker{'' if workers == 1 else 's'}"
        self._live.start()

    def report(self, report: Report) -> None:
        self._report = report if self._report is None else with_last_figures(report, self._report)
        self._draw()

    def evaluation(self, evaluation: Evaluation) -> None:
        from rich.text import Text

        self._evaluation = evaluation
        self._console.print(Text(evaluation_line(evaluation)))
        self._draw()

    def rehash(self, rehash: Rehash) -> None:
        self._rehash = rehash
        self._draw()

    def notice(self, notice: Notice) -> None:
        from rich.text import Text

        warning = notice.level == "warning"
        text = f"warning: {notice.text}" if warning else notice.text
        self._console.print(Text(text, style="yellow" if warning else "dim"))

    def summary(self, summary: Summary) -> None:
        from distlsh.cli.summary import summary_table

        self._live.stop()
        self._console.print(summary_table(summary), soft_wrap=True)

    def close(self) -> None:
        self._live.stop()

    def _draw(self) -> None:
        now = time.monotonic()
        if self._report is None or now - self._drawn_s < 0.1:
            return
        self._drawn_s = now
        self._live.update(picture(self._title, self._report, self._evaluation, self._rehash), refresh=True)


def with_last_figures(report: Report, before: Report) -> Report:
    """Return ``report`` with figures of the one before where it has none, as while evaluating."""
    kept = {name: getattr(before, name) for name in _KEPT if getattr(report, name) is None}
    return msgspec.structs.replace(report, **kept)


def parsing_line(path: Path) -> str:
    """Return what is said while a data file is parsed."""
    return f"parsing {path}: once, later runs use the result"


def _phase(r: Report) -> str:
    """Return the phase's name, with how much of it is done where it is long."""
    return r.phase if r.phase_share is None or r.phase == "train" else f"{r.phase} {share(r.phase_share)}"


def report_line(report: Report) -> str:
    """Return a report as one line of text."""
    r = report
    if r.phase == PRETRAIN:
        return f"{_phase(r)}  {count(r.samples_per_s)} samples/s{_each_worker(r)}  loss {number(r.loss)}"
    if r.phase != "train":
        return _phase(r)
    parts = [
        f"epoch {r.epoch + 1}/{r.epochs} {share(_done(r))}",
        f"{count(r.samples_per_s)} samples/s{_each_worker(r)}",
        f"loss {number(r.loss)}",
        f"active {count(r.n_active_mean)}",
        f"dense work {share(r.mac_fraction)}",
    ]
    if r.table_age_s is not None:
        parts.append(
            f"tables {r.generation}, {duration(r.table_age_s)} old, recall@1 {metric(r.table_recall_at_1)}"
        )
    if r.p_at_1 is not None:
        parts.append(f"P@1 {metric(r.p_at_1)}")
    if r.worker_restarts:
        parts.append(f"restarts {r.worker_restarts}")
    if r.non_finite_samples:
        parts.append(f"left out {count(r.non_finite_samples)}")
    return "  ".join([*parts, f"left {duration(r.eta_s)}"])


def evaluation_line(evaluation: Evaluation) -> str:
    """Return an evaluation as one line of text."""
    e = evaluation
    parts = [
        f"evaluation ({e.kind}, {count(e.n_rows)} rows, {count(e.samples)} samples in):",
        f"P@1/3/5 {e.p_at_1:.4f} {e.p_at_3:.4f} {e.p_at_5:.4f}",
        f"nDCG@5 {e.ndcg_at_5:.4f}",
        f"PSP@1/5 {e.psp_at_1:.4f} {e.psp_at_5:.4f}",
    ]
    if e.lsh_p_at_1 is not None:
        parts.append(f"LSH P@1 {e.lsh_p_at_1:.4f}")
    if e.table_recall_at_1 is not None:
        parts.append(f"recall@1/10 {metric(e.table_recall_at_1)} {metric(e.table_recall_at_10)}")
    return "  ".join(parts)


def picture(
    title: str, report: Report, evaluation: Evaluation | None = None, rehash: Rehash | None = None
) -> RenderableType:
    """Return the live picture of a run."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    r = report
    bar = Table.grid(padding=(0, 1))
    pretrains = r.phase == PRETRAIN
    done = (r.phase_share or 0.0) if pretrains else _done(r)
    samples = "" if pretrains else f"  {count(r.epoch_done)} of {count(r.epoch_size)}"
    bar.add_row(
        Text(PRETRAIN if pretrains else f"epoch {r.epoch + 1}/{r.epochs}", style="bold"),
        ProgressBar(total=1.0, completed=done, width=30),
        Text(f"{share(done)}{samples}"),
        Text(f"left {duration(r.eta_s)}", style="bold"),
    )
    figures = Table.grid(padding=(0, 2))
    for name, value in _figures(r, evaluation, rehash):
        figures.add_row(Text(name, style="dim"), Text(value))
    head = Text(title, style="bold cyan")
    head.append(f"  {_phase(r)}  {duration(r.time_s)}", style="dim")
    return Group(head, bar, figures)


def _figures(r: Report, evaluation: Evaluation | None, rehash: Rehash | None) -> list[tuple[str, str]]:
    rows = [
        ("samples/s", f"{count(r.samples_per_s)}{_each_worker(r)}"),
        ("loss", f"{number(r.loss)}   rate {number(r.lr)}"),
        ("active outputs", f"{count(r.n_active_mean)} a sample, {number(r.rows_updated_mean)} rows updated"),
        ("dense work", share(r.mac_fraction)),
        *_tables(r, rehash),
        ("P@1", f"{metric(r.p_at_1)}{_lsh_precision(evaluation)}"),
    ]
    if r.worker_restarts:
        rows.append(("restarts", str(r.worker_restarts)))
    if r.non_finite_samples:
        rows.append(("left out", f"{count(r.non_finite_samples)} samples: a number was not finite"))
    return rows


def _tables(r: Report, rehash: Rehash | None) -> list[tuple[str, str]]:
    # A dense output has no tables, and a sparse one none before the first are built.
    if r.table_age_s is None:
        return []
    moved = "" if rehash is None else f", {share(rehash.changed_share)} of codes moved last"
    age = f"generation {r.generation}, {duration(r.table_age_s)} old"
    return [("tables", f"{age}, recall of the top 1 {metric(r.table_recall_at_1)}{moved}")]


def _done(r: Report) -> float:
    return r.epoch_done / r.epoch_size if r.epoch_size else 0.0


def _each_worker(r: Report) -> str:
    speeds = r.worker_samples_per_s
    if len(speeds) < 2:
        return ""
    shown = " + ".join(count(speed) for speed in speeds[:_MAX_WORKERS_SHOWN])
    more = f" + {len(speeds) - _MAX_WORKERS_SHOWN} more" if len(speeds) > _MAX_WORKERS_SHOWN else ""
    return f" ({shown}{more})"


def _lsh_precision(evaluation: Evaluation | None) -> str:
    if evaluation is None or evaluation.lsh_p_at_1 is None:
        return ""
    return f", {metric(evaluation.lsh_p_at_1)} by LSH inference"
