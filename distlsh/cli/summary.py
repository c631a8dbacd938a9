"""The table at the end of a run: every figure that matters, and where everything lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distlsh.cli.format import count, duration, metric, number, share
from distlsh.protocol.reports import Summary
from distlsh.shm.memory import human

if TYPE_CHECKING:
    from rich.console import RenderableType

Row = tuple[str, str]

_FILES = (
    ("config.yaml", "the configuration, resolved"),
    ("summary.json", "these figures"),
    ("metrics.jsonl", "the run, second by second"),
    ("eval.jsonl", "the evaluations"),
    ("checkpoints", "the trained network"),
    ("logs", "what the processes said"),
    ("plots", "pictures of the run"),
)


def summary_rows(summary: Summary) -> list[tuple[str, list[Row]]]:
    """Return the figures in groups: (title, [(name, value), ...])."""
    s = summary
    accuracy: list[Row] = [
        ("P@1 / 3 / 5", _joined(s.p_at_1, s.p_at_3, s.p_at_5)),
        ("nDCG@1 / 3 / 5", _joined(s.ndcg_at_1, s.ndcg_at_3, s.ndcg_at_5)),
        ("PSP@1 / 3 / 5", _joined(s.psp_at_1, s.psp_at_3, s.psp_at_5)),
        ("P@1 by LSH inference", metric(s.lsh_p_at_1)),
        ("P@1 of the popularity baseline", metric(s.popularity_p_at_1)),
        ("training loss", number(s.loss)),
    ]
    work: list[Row] = [
        ("samples", f"{count(s.samples)} ({s.epochs:.2f} epochs) by {s.workers} {_workers(s.workers)}"),
        ("samples/s", count(s.samples_per_s)),
        ("active outputs a sample", count(s.n_active_mean)),
        ("share of dense work", share(s.mac_fraction)),
        ("table recall of the top 1 / 10", _joined(s.table_recall_at_1, s.table_recall_at_10)),
        *_hidden(s),
        ("rehashes, mean table age", f"{s.rehashes}, {duration(s.table_age_s_mean)}"),
    ]
    cost: list[Row] = [
        ("training", duration(s.train_s)),
        *([("of it, pretraining", _pretraining(s))] if s.pretrain_s else []),
        ("loading / compiling / evaluating", " / ".join(map(duration, (s.load_s, s.compile_s, s.eval_s)))),
        ("command to start of training", duration(s.start_s or None)),
        ("command to first gradient step", duration(s.first_step_s or None)),
        ("command to end", duration(s.total_s)),
        ("peak memory", human(s.peak_memory_bytes)),
        ("energy", "not measured" if s.energy_j is None else f"{s.energy_j:,.0f} J"),
        ("worker restarts", str(s.worker_restarts)),
        *_repeated(s),
        *_non_finite(s),
        *_saving(s),
    ]
    return [("Accuracy", accuracy), ("Work", work), ("Cost", cost)]


def _repeated(s: Summary) -> list[Row]:
    # Only where a worker died in the middle of its work.
    n = s.repeated_samples + s.repeated_pretrained
    return [("samples trained more than once", count(n))] if n else []


def _saving(s: Summary) -> list[Row]:
    if not s.save_s:
        return []
    return [("saving, of it with work waiting", f"{duration(s.save_s)}, {duration(s.save_stall_s)}")]


def _non_finite(s: Summary) -> list[Row]:
    rows: list[Row] = []
    if s.non_finite_samples:
        rows.append(("samples left out: not finite", count(s.non_finite_samples)))
    if s.fall_backs:
        rows.append(("returns to a checkpoint", f"{s.fall_backs}, rates times {number(s.lr_scale)}"))
    return rows


def _hidden(s: Summary) -> list[Row]:
    # Only where hidden layers are hashed.
    if s.hidden_mac_fraction is None:
        return []
    recall = _joined(*s.hidden_recall) if s.hidden_recall else "-"
    return [
        ("share of hashed layers' dense work", share(s.hidden_mac_fraction)),
        ("table recall of hashed layers", recall),
    ]


def _pretraining(s: Summary) -> str:
    return f"{duration(s.pretrain_s)}, {count(s.pretrained)} samples, loss {number(s.pretrain_loss)}"


def _joined(*values: float | None) -> str:
    return " / ".join(metric(value) for value in values)


def _workers(n: int) -> str:
    return "worker" if n == 1 else "workers"


def file_rows(run_dir: Path) -> list[Row]:
    """Return (name, what it is) for all that lies in the run directory."""
    return [(name, what) for name, what in _FILES if (run_dir / name).exists()]


def next_commands(summary: Summary) -> list[str]:
    """Return the commands that go on from here."""
    if summary.status != "completed":
        return [f"distlsh-launch --resume {summary.run_dir}"]
    return [
        f"distlsh evaluate {summary.run_dir} --data FILE",
        f"distlsh predict {summary.run_dir} --data FILE --k 5 --out FILE",
    ]


def summary_table(summary: Summary) -> RenderableType:
    """Return everything above as one picture."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Run {summary.status}", title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    for title, rows in summary_rows(summary):
        table.add_row(Text(title, style="bold"))
        for i, (name, value) in enumerate(rows):
            table.add_row(f"  {name}", Text(value), end_section=i == len(rows) - 1)
    files = Table.grid(padding=(0, 2))
    for name, what in file_rows(Path(summary.run_dir)):
        files.add_row(Text(f"  {name}"), Text(what, style="dim"))
    commands = [Text(f"  {command}") for command in next_commands(summary)]
    where = Text(f"in {summary.run_dir}", style="bold")
    return Group(table, where, files, Text("next", style="bold"), *commands)
