"""``distlsh bench``: measurements of this machine with one's own configuration."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from distlsh.cli.commands import Subparsers, add_verbose
from distlsh.errors import UsageError

if TYPE_CHECKING:
    from distlsh.config.schema import Config

_QUICK = ("data.synth.n_train=20000", "data.synth.n_test=2000", "train.epochs=1")

_EPILOG = """\
examples:
  distlsh bench scaling --workers 1,2,4,8,16
  distlsh bench scaling --config enwiki-para --set data.train=FILE --set data.test=FILE --out enwiki.json
"""


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser("bench", help="measure how training scales on this machine")
    benches = parser.add_subparsers(dest="bench", required=True, metavar="WHAT")
    scaling = benches.add_parser(
        "scaling",
        help="throughput, accuracy and costs over numbers of workers",
        description="Train the same configuration with each number of workers, in turns, and compare.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    scaling.add_argument(
        "--workers", metavar="N,N,...", help="numbers of workers (default: 1, 2, 4, ... up to the cores)"
    )
    scaling.add_argument("--config", metavar="FILE", help="as for distlsh-launch (default: quickstart)")
    scaling.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    scaling.add_argument("--repeat", type=int, default=3, metavar="N", help="runs of each (default: 3)")
    scaling.add_argument(
        "--no-conflicts", action="store_true", help="do not count how often workers meet on an output"
    )
    scaling.add_argument(
        "--quick", action="store_true", help="one run of each, on 20,000 generated instances"
    )
    scaling.add_argument(
        "--out", type=Path, default=Path("scaling.json"), metavar="FILE",
        help="JSON to write; beside it .svg and .png (default: scaling.json)",
    )  # fmt: skip
    add_verbose(scaling)
    scaling.set_defaults(run=_scaling)


def parse_workers(text: str | None) -> list[int]:
    """Return numbers of workers: ``1,2,4``; None: powers of two up to the usable cores, and those."""
    if text is None:
        cores = len(os.sched_getaffinity(0))
        return sorted({cores, *(1 << i for i in range(cores.bit_length()) if 1 << i <= cores)})
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--workers {text}: give numbers with commas between, such as 1,2,4") from None


def _scaling(args: argparse.Namespace) -> int:
    from distlsh.cli.scaling import draw, progress_line, show, write_json

    workers, config = parse_workers(args.workers), _config(args)
    if not args.out.parent.is_dir():
        raise UsageError(f"--out {args.out}: there is no folder {args.out.parent}; make it first")
    from distlsh.runtime.scaling import measure

    repeat = 1 if args.quick else args.repeat
    found = measure(
        config, workers, repeat, conflicts=not args.no_conflicts,
        on_run=lambda one: print(progress_line(one), flush=True),
    )  # fmt: skip
    show(found)
    written = [write_json(found, config, args.out), *draw(found, args.out)]
    print(f"written: {', '.join(str(path) for path in written)}")
    return 0


def _config(args: argparse.Namespace) -> Config:
    from distlsh.config.load import load_config

    if args.quick and args.config is not None:
        raise UsageError("--quick is for generated data and excludes --config; use --repeat 1 instead")
    return load_config(args.config, [*(_QUICK if args.quick else ()), *args.overrides])
