"""Draw live.svg and summary.svg: what a terminal shows of a real run.

    python docs/pictures.py [KEY=VALUE ...]

Runs the quickstart with the given settings on two workers, records what the display is
told, and draws the report of its middle and the end summary with rich.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from distlsh.cli.display import evaluation_line, picture, with_last_figures
from distlsh.cli.summary import summary_table
from distlsh.config.load import load_config
from distlsh.config.schema import Config
from distlsh.protocol.reports import Evaluation, Notice, Rehash, Report, Summary
from distlsh.runtime.launch import run
from distlsh.runtime.observer import Silent

HERE = Path(__file__).resolve().parent
RUN = Path("runs/quickstart")
WORKERS = 2
WIDTH = 132


class Recorder(Silent):
    """Keeps every report in the order it came."""

    def __init__(self) -> None:
        self.told: list[Report | Evaluation | Rehash | Notice] = []

    def report(self, report: Report) -> None:
        self.told.append(report)

    def evaluation(self, evaluation: Evaluation) -> None:
        self.told.append(evaluation)

    def rehash(self, rehash: Rehash) -> None:
        self.told.append(rehash)


def recorded(config: Config) -> tuple[Recorder, Summary]:
    """Run ``config`` in the current folder; return all that was reported."""
    recorder = Recorder()
    summary = run(config, observer=recorder, run_dir=RUN)
    # As typed, not as resolved: where this ran is no part of the picture.
    return recorder, msgspec.structs.replace(summary, run_dir=str(RUN))


def command(overrides: list[str]) -> str:
    """Return the command that was run, over as many lines as it takes."""
    settings = [f"    --set {override}" for override in overrides]
    return " \\\n".join([f"$ distlsh-launch --workers {WORKERS}", *settings])


def new_console() -> Console:
    """Return a console that records and shows nothing."""
    return Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)


def save(console: Console, path: Path) -> None:
    """Write what was recorded, in whatever monospaced font the reader has."""
    text = console.export_svg(title="distlsh-launch")
    path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", text, flags=re.DOTALL), encoding="utf-8")


def draw_live(recorder: Recorder, overrides: list[str], path: Path) -> None:
    """Draw the display at the report in the middle of the last epoch."""
    reports = [r for r in recorder.told if isinstance(r, Report) and r.phase == "train" and r.samples]
    last = [r for r in reports if r.epoch == r.epochs - 1 and r.loss is not None] or reports
    chosen = min(last, key=lambda r: abs(r.epoch_done - 0.6 * r.epoch_size))
    console = new_console()
    console.print(Text(command(overrides), style="bold"))
    report: Report | None = None
    evaluation: Evaluation | None = None
    rehash: Rehash | None = None
    for told in recorder.told:
        if isinstance(told, Report):
            report = told if report is None else with_last_figures(told, report)
        elif isinstance(told, Evaluation):
            evaluation = told
            console.print(Text(evaluation_line(told)))
        elif isinstance(told, Rehash):
            rehash = told
        if told is chosen:
            break
    assert report is not None
    console.print(picture(f"{RUN}  {WORKERS} workers", report, evaluation, rehash))
    save(console, path)


def draw_summary(summary: Summary, path: Path) -> None:
    """Draw the table at the end of the run."""
    console = new_console()
    console.print(summary_table(summary))
    save(console, path)


def main(overrides: list[str]) -> None:
    """Run and draw."""
    config = load_config(None, ["run.report_s=0.5", *overrides], WORKERS)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        recorder, summary = recorded(config)
        draw_live(recorder, overrides, HERE / "live.svg")
        draw_summary(summary, HERE / "summary.svg")
        os.chdir(HERE)


if __name__ == "__main__":
    main(sys.argv[1:])
