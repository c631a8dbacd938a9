"""``distlsh tune SOURCE --recall 0.9``: which hash functions reach a recall, and at what cost."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distlsh.cli.commands import Subparsers, add_format, add_verbose
from distlsh.cli.meter import Meter
from distlsh.errors import UsageError

if TYPE_CHECKING:
    from distlsh.lsh.tuning import Tuning

_METRICS = ("cosine", "dot", "euclidean", "jaccard")
_FAMILIES = (
    "cross_polytope", "srp", "fast_srp", "sparse_srp", "wta", "dwta", "l2", "minhash", "doph",
)  # fmt: skip

_EPILOG = """\
SOURCE is a run directory or a checkpoint (output rows are indexed, hidden vectors ask), a .npy array
[rows, dimensions], an .npz of scipy.sparse.save_npz, or a data file, whose features are the rows.

examples:
  distlsh tune runs/20260101-120000-enwiki-para --recall 0.6 --max-candidates 1%
  distlsh tune vectors.npy --recall 0.9 --metric euclidean --queries queries.npy --plot tune.png
"""


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "tune",
        help="choose hash functions from a recall",
        description="Measure hash functions on a sample of the real data: print the trade-off, choose.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", type=Path, help="run, checkpoint, array or data file")
    _add_goal(parser)
    _add_sample(parser)
    parser.add_argument("--rows", type=int, default=12, metavar="N", help="of the table (default: 12)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture to write (needs matplotlib)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    add_verbose(parser)
    parser.set_defaults(run=run)


def _add_goal(parser: argparse.ArgumentParser) -> None:
    goal = parser.add_argument_group("the goal")
    goal.add_argument("--recall", type=float, default=0.9, help="of the exact top K (default: 0.9)")
    goal.add_argument("--k", type=int, default=10, metavar="K", help="neighbours (default: 10)")
    goal.add_argument(
        "--max-candidates", metavar="N", help="rows found a query in the mean: 500, or 1%% of all"
    )
    goal.add_argument("--max-bytes", metavar="SIZE", help="of the tables: 500M, 2G, or bytes")


def _add_sample(parser: argparse.ArgumentParser) -> None:
    sample = parser.add_argument_group("what is measured")
    sample.add_argument("--metric", choices=_METRICS, help="default: cosine; of a run always dot")
    sample.add_argument("--queries", type=Path, metavar="FILE", help="array of queries (default: rows)")
    sample.add_argument("--data", type=Path, metavar="FILE", help="of a run: instances (default: its own)")
    sample.add_argument(
        "--families", nargs="+", choices=_FAMILIES, metavar="NAME", help=f"to try: {', '.join(_FAMILIES)}"
    )
    sample.add_argument("--max-tables", type=int, metavar="L", help="tables to try at most (default: 64)")
    sample.add_argument("--max-probes", type=int, metavar="N", help="probes to try at most (default: 16)")
    sample.add_argument("--sample", type=int, default=512, metavar="N", help="queries (default: 512)")
    sample.add_argument("--seed", type=int, default=1, help="of the samples and hash functions (default: 1)")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Tune and print."""
    from distlsh.cli.tuning import print_tuning
    from distlsh.lsh.tuning.picture import require

    if args.plot is not None:
        require()  # before the work, not after it
    if not args.source.exists():
        raise UsageError(f"no such file or run: {args.source} (current folder: {Path.cwd()})")
    tuning, lines = _of_run(args) if args.source.is_dir() else _of_vectors(args)
    if args.json:
        import msgspec

        print(msgspec.json.encode({**tuning.to_dict(), "lines": lines}).decode())
    else:
        print_tuning(tuning, lines, args.rows)
    if args.plot is not None:
        tuning.plot(args.plot)
        if not args.json:
            print(f"plot     {args.plot}")
    return 0


def _goal(args: argparse.Namespace) -> dict[str, Any]:
    from distlsh.cli.tuning import parse_candidates, parse_size

    return {
        "target_recall": args.recall,
        "k": args.k,
        "max_candidates": parse_candidates(args.max_candidates),
        "max_bytes": parse_size(args.max_bytes),
        "sample": args.sample,
        "seed": args.seed,
        "families": args.families,
        "max_tables": args.max_tables,
        "max_probes": args.max_probes,
    }


def _of_run(args: argparse.Namespace) -> tuple[Tuning, str]:
    from distlsh.cli.tuning import tune_run

    for option in ("metric", "queries"):
        if getattr(args, option) is not None:
            raise UsageError(f"--{option} is for arrays; a run's rows are compared by its logits")
    with Meter() as meter:
        tuning = tune_run(args.source, args.data, args.format, _goal(args), meter)
    return tuning, tuning.to_yaml()


def _of_vectors(args: argparse.Namespace) -> tuple[Tuning, str]:
    from distlsh.cli.tuning import read_vectors
    from distlsh.lsh.tuning.for_index import tune_index

    if args.data is not None:
        raise UsageError("--data is for runs; give an array of queries with --queries")
    with Meter() as meter:
        rows = read_vectors(args.source, args.format, meter)
        queries = None if args.queries is None else read_vectors(args.queries, args.format, meter)
        found = tune_index(
            rows, queries, metric=args.metric or "cosine", progress=meter.of("measuring"), **_goal(args)
        )
    given = ", ".join(f"{name}={value!r}" for name, value in found.params.items())
    return found.tuning, f"distlsh.LSHIndex({given})\n"
