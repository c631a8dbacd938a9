"""``distlsh plot RUN``: the plots of a run that was made without them."""

from __future__ import annotations

import argparse
from pathlib import Path

from distlsh.cli.commands import Subparsers, add_verbose


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "plot", help="write a run's plots", description="Write RUN/plots/*.png (needs matplotlib)."
    )
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="run directory")
    add_verbose(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the plots and print their paths."""
    from distlsh.cli.plots import write_plots

    for path in write_plots(args.run_dir):
        print(path)
    return 0
