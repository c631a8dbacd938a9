"""``distlsh evaluate RUN --data FILE``: a trained network's metrics on a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from distlsh.cli.commands import Subparsers, add_format, add_verbose, open_model_and_data
from distlsh.cli.format import count, duration, metric, share
from distlsh.cli.meter import Meter
from distlsh.protocol.reports import Evaluation

if TYPE_CHECKING:  # importing it loads kernels
    from distlsh.lsh.stats import TableStats


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        help="metrics of a trained network on a file",
        description="Print P@k, nDCG@k, PSP@k and the recall of the tables, by exact and by LSH inference.",
    )
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="run directory or checkpoint")
    parser.add_argument("--data", required=True, type=Path, metavar="FILE", help="instances with labels")
    add_format(parser)
    parser.add_argument("--exact-only", action="store_true", help="leave out LSH inference")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    add_verbose(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    import msgspec

    with Meter() as meter:
        model, dataset = open_model_and_data(args, meter)
        evaluation = model.evaluate(dataset, lsh=not args.exact_only, progress=meter.of("evaluating"))
    if args.json:
        print(msgspec.json.encode(evaluation).decode())
    else:
        _print_table(evaluation, None if args.exact_only else model.table_stats())
    return 0


def _print_table(evaluation: Evaluation, stats: TableStats | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for name in ("", "exact", "LSH"):
        table.add_column(name, justify="right" if name else "left")
    for name, exact, lsh in rows_of(evaluation):
        table.add_row(name, exact, lsh)
    for name, value in stat_rows(stats):
        table.add_row(name, "", value)
    Console().print(table)


def stat_rows(stats: TableStats | None) -> list[tuple[str, str]]:
    """Return (name, value) for what tells how full, and how evenly, the tables are."""
    if stats is None:
        return []
    return [
        ("ids that no bucket had room for", share(stats.overflow_share)),
        ("buckets in use, full", f"{share(stats.used_share)}, {share(stats.full_share)}"),
        ("a table is as if it had even buckets", count(stats.effective_buckets)),
        ("ids of the most crowded bucket", count(stats.most_seen)),
    ]


def rows_of(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Return (name, by exact inference, by LSH inference) for each figure."""
    e = evaluation
    lsh = e.lsh_p_at_1 is not None
    rows = [
        (title, metric(getattr(e, name)), metric(getattr(e, f"lsh_{name}", None)) if lsh else "")
        for title, name in _METRICS
    ]
    for i, recall in enumerate(e.hidden_recall or []):
        rows.append((f"recall of hashed layer {i + 1}", "", metric(recall)))
    if e.table_recall_at_1 is not None:
        rows += [
            ("recall of the exact top 1", "", metric(e.table_recall_at_1)),
            ("recall of the exact top 10", "", metric(e.table_recall_at_10)),
            ("outputs computed a row", "all", count(e.retrieved_mean)),
        ]
    if e.lsh_mac_fraction is not None:
        rows.append(("multiply-adds of exact", "100%", share(e.lsh_mac_fraction)))
    return [*rows, ("rows", count(e.n_rows), ""), ("time", duration(e.eval_s), "")]


_METRICS = (
    *((f"P@{k}", f"p_at_{k}") for k in (1, 3, 5)),
    *((f"nDCG@{k}", f"ndcg_at_{k}") for k in (1, 3, 5)),
    *((f"PSP@{k}", f"psp_at_{k}") for k in (1, 3, 5)),
)
