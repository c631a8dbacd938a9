"""``distlsh``: everything but training.

A command's module imports what it needs when it runs, so that --help answers at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from distlsh._version import __version__
from distlsh.cli.commands import (
    bench,
    data,
    doctor,
    evaluate,
    keygen,
    plot,
    predict,
    tune,
    version,
    watch,
)
from distlsh.cli.errors import guarded

PROGRAM = "distlsh"

_COMMANDS = (evaluate, predict, watch, tune, data, plot, bench, doctor, keygen, version)

_EPILOG = "Training is a command of its own: distlsh-launch --help"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, with a subparser for each command."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Use trained networks, make and look at data.", epilog=_EPILOG
    )
    parser.add_argument("--version", action="version", version=f"distlsh {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _COMMANDS:
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = build_parser().parse_args(argv)
    return guarded(lambda: int(args.run(args)), program=PROGRAM, verbose=getattr(args, "verbose", False))


if __name__ == "__main__":
    raise SystemExit(main())
