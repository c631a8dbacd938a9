"""One module a command of ``distlsh``: its arguments, and what it prints."""

from __future__ import annotations

import argparse
from typing import Any

Subparsers = Any
"""What `argparse.ArgumentParser.add_subparsers` returns; argparse has no public name for it."""

FORMATS = ("auto", "xc", "svmlight", "idx")
"""Of data files."""


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Add the option that all commands have."""
    parser.add_argument("--verbose", action="store_true", help="tracebacks of errors")
