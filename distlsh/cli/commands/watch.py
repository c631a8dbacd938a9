"""``distlsh watch``: what a run that is under way says of itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from distlsh.cli.commands import Subparsers, add_verbose
from distlsh.errors import UsageError

if TYPE_CHECKING:
    from distlsh.protocol.messages import Metric
    from distlsh.transport.keys import ClientKeys

_NOTHING = (
    "{where} said nothing for {seconds:g} s: perhaps the run has ended, the address is another, "
    "or it does not know your key (your .key file belongs into the folder clients of its run.keys)"
)


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "watch",
        help="follow a run that is under way",
        description="Print reports, evaluations and notices of a run until it falls silent.",
    )
    parser.add_argument(
        "where",
        metavar="RUN",
        help="run directory of this user, or the address the run printed: ipc://... or tcp://HOST:PORT",
    )
    parser.add_argument("--keys", type=Path, metavar="DIR", help="your keys, for tcp://: see distlsh keygen")
    parser.add_argument("--name", help="of your own pair in DIR, where there are several")
    parser.add_argument("--server", default="server", metavar="NAME", help="of the run's public key in DIR")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="seconds of silence to wait (default: 60)"
    )
    add_verbose(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what comes; return 1 if nothing did."""
    from distlsh.transport.metrics import subscribe

    where = _address(args.where)
    told = _print(subscribe(where, timeout_s=args.timeout, keys=_keys(args, where)))
    if not told:
        raise UsageError(_NOTHING.format(where=where, seconds=args.timeout))
    return 0


def _address(where: str) -> str:
    if where.startswith(("ipc://", "tcp://")):
        return where
    from distlsh.runtime.run_dir import RunDir

    return RunDir.open(Path(where)).addresses()[0]


def _keys(args: argparse.Namespace, where: str) -> ClientKeys | None:
    from distlsh.config.addresses import split_tcp
    from distlsh.transport.keys import ClientKeys, own_name, read_pair, read_public, require_curve

    if not where.startswith("tcp://"):
        return None
    found = split_tcp(where)
    if found is None or "*" in where or not found[1]:
        raise UsageError(f"found {where!r}; allowed: tcp://HOST:PORT, the run's own host and port")
    if args.keys is None:
        raise UsageError(
            f"{where}: a run is watched over the network with keys; "
            "make yours with: distlsh keygen DIR --name me, and give --keys DIR"
        )
    require_curve()
    pair = read_pair(args.keys, args.name or own_name(args.keys))
    return ClientKeys(pair, read_public(args.keys / f"{args.server}.key"))


def _print(metrics: Iterator[Metric]) -> bool:
    """Print a line for what a person reads; return whether anything came at all."""
    from distlsh.cli.display import evaluation_line, report_line
    from distlsh.protocol.reports import Evaluation, Notice, Report

    told = False
    for metric in metrics:
        told = True
        match metric:
            case Report():
                print(f"[{metric.time_s:7.1f} s] {report_line(metric)}", flush=True)
            case Evaluation():
                print(evaluation_line(metric), flush=True)
            case Notice(level=level, text=text):
                print(f"warning: {text}" if level == "warning" else text, flush=True)
    return told
