"""One module a command of ``distlsh``: its arguments, and what it prints."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, get_args

from distlsh.config.schema import Format

if TYPE_CHECKING:
    from distlsh.cli.meter import Meter
    from distlsh.data.dataset import Dataset
    from distlsh.inference import Model

Subparsers = Any
"""What `argparse.ArgumentParser.add_subparsers` returns; argparse has no public name for it."""


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Add the option that all commands have."""
    parser.add_argument("--verbose", action="store_true", help="tracebacks of errors")


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add the option of commands that read a data file."""
    choices = get_args(Format)
    parser.add_argument("--format", default="auto", choices=choices, help="of the file (default: by content)")


def open_model_and_data(args: argparse.Namespace, meter: Meter) -> tuple[Model, Dataset]:
    """Return the model in ``args.run_dir``, and the file ``args.data`` as that model takes data."""
    from distlsh.data.opening import open_dataset
    from distlsh.inference import Model

    model = Model.load(args.run_dir)
    progress = meter.of("reading")
    return model, open_dataset(args.data, format=args.format, normalize=model.normalize, progress=progress)
