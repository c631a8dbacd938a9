"""``distlsh predict RUN --data FILE --k 5 --out FILE``: the best labels of each row."""

from __future__ import annotations

import argparse
from pathlib import Path

from distlsh.cli.commands import Subparsers, add_format, add_verbose, open_model_and_data
from distlsh.cli.meter import Meter


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "predict",
        help="best labels of each row of a file",
        description="Write a line `label:logit label:logit ...` a row: the K best labels, best first.",
    )
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="run directory or checkpoint")
    parser.add_argument(
        "--data", required=True, type=Path, metavar="FILE", help="instances; labels are ignored"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="what to write; gzipped if it ends in .gz"
    )
    parser.add_argument("--k", type=int, default=5, metavar="K", help="labels a row (default: 5)")
    parser.add_argument(
        "--method",
        default="exact",
        choices=["exact", "lsh"],
        help="exact: all outputs are computed; lsh: those that the tables retrieve (default: exact)",
    )
    parser.add_argument(
        "--n-probes", type=int, metavar="N", help="lsh: buckets beside its own that a row reads in a table"
    )
    parser.add_argument(
        "--max-candidates", type=int, metavar="N", help="lsh: labels scored, those found most often"
    )
    add_format(parser)
    add_verbose(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict and write."""
    from distlsh.predictions import predict_to_file

    with Meter() as meter:
        model, dataset = open_model_and_data(args, meter)
        effort = {"n_probes": args.n_probes, "max_candidates": args.max_candidates}
        progress = meter.of("predicting")
        n_rows = predict_to_file(model, dataset, args.k, args.out, args.method, progress, **effort)
    print(f"{n_rows:,} rows -> {args.out}")
    return 0
