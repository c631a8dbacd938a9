"""``distlsh version``."""

from __future__ import annotations

import argparse

from distlsh._version import __version__
from distlsh.cli.commands import Subparsers


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser("version", help="print the version")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the version."""
    print(f"distlsh {__version__}")
    return 0
