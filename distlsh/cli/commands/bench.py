"""``distlsh bench``: measurements of this machine with one's own configuration."""

from __future__ import annotations

import argparse
import os
import time
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

_CHAOS_MINUTES = 2.0

_CHAOS_EPILOG = """\
examples:
  distlsh bench chaos --minutes 2
  distlsh bench chaos --faults 200 --seed 1 --workers 2

First a short run shows how fast training is; then come the undisturbed runs and the disturbed one, of as
many epochs as the faults need, four at least. --minutes counts from the start of the disturbed run.

Exit code 0 only if everything held. Terminated or hung up, it ends the runs that it started.
"""


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser("bench", help="measure how training scales, and what it survives")
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
    _add_chaos(benches)


def _add_chaos(benches: Subparsers) -> None:
    chaos = benches.add_parser(
        "chaos",
        help="kill, stop and starve a run's processes at random, and check that nothing was lost",
        description="Train while processes are killed, stopped and starved of memory at random and at exact "
        "moments; resume; compare with undisturbed runs, and look for anything lost or left behind.",
        epilog=_CHAOS_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    chaos.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="strike no more after so long (default: 2, or as --faults need); undisturbed runs come before, "
        "and the rest of the training after it: with one's own data that may take longer",
    )
    chaos.add_argument("--faults", type=int, metavar="K", help="number of faults (default: what fits)")
    chaos.add_argument("--seed", type=int, default=1, metavar="S", help="of all draws (default: 1)")
    chaos.add_argument("--workers", type=int, metavar="N", help="worker processes (default: 2)")
    chaos.add_argument(
        "--config", metavar="FILE", help="as for distlsh-launch (default: small generated data)"
    )
    chaos.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    chaos.add_argument("--calm", type=int, default=3, metavar="C", help="undisturbed runs (default: 3)")
    chaos.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="folder for the runs (default: runs/<time>-chaos)"
    )
    chaos.add_argument(
        "--output", type=Path, metavar="FILE", help="JSON to write (default: chaos.json in the folder)"
    )
    add_verbose(chaos)
    chaos.set_defaults(run=_chaos)


def _chaos(args: argparse.Namespace) -> int:
    from distlsh.cli.chaos import fault_line, show, write_json
    from distlsh.runtime.chaos.bench import FAULT_S, run_chaos
    from distlsh.runtime.chaos.prepare import base_config
    from distlsh.runtime.stop_signals import interrupted_by_signals

    if args.faults is not None and args.faults < 1:
        raise UsageError(f"--faults {args.faults}: give a number from 1")
    if args.calm < 1:
        raise UsageError(
            f"--calm {args.calm}: give a number from 1; without one there is nothing to compare with"
        )
    root = (args.run_dir or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-chaos").absolute()
    if (root / "run").exists():
        raise UsageError(f"--run-dir {root} holds a chaos run already; name another folder")
    minutes = args.minutes or (None if args.faults else _CHAOS_MINUTES)
    n_faults = args.faults or max(1, round((minutes or 0) * 60 / FAULT_S))
    config = base_config(args.config, args.overrides, args.workers, root / "cache")
    print(f"chaos: {n_faults} faults, seed {args.seed}, in {root}", flush=True)
    with interrupted_by_signals():
        report = run_chaos(
            config, root, seed=args.seed, n_faults=n_faults, n_calm=args.calm,
            deadline_s=minutes * 60 if minutes else None,
            tell=lambda text: print(text, flush=True),
            on_fault=lambda one: print(fault_line(one), flush=True),
        )  # fmt: skip
    show(report)
    output = args.output or root / "chaos.json"
    write_json(report, output)
    print(f"written: {output}")
    if not report.holds:
        print(
            f"not all holds; the runs' output is {root / 'run.log'}, their logs {root / 'run' / 'logs'}; "
            f"the same faults again: distlsh bench chaos --faults {n_faults} --seed {args.seed}"
        )
    return 0 if report.holds else 1


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
