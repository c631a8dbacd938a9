"""``distlsh data synth|info|fetch``: make, look at and download data."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from distlsh.cli.commands import Subparsers, add_format, add_verbose
from distlsh.cli.meter import Meter
from distlsh.errors import ConfigError

_SYNTH_HELP = {
    "n_train": "training instances",
    "n_test": "test instances; 0: no test file",
    "n_features": "features",
    "n_labels": "labels",
    "n_nonzeros": "mean features of an instance",
    "n_labels_mean": "mean labels of an instance",
    "cluster_size": "labels that share features",
    "exponent": "of the power law of label frequencies; 0 is uniform",
    "noise": "share of an instance's features that say nothing",
    "seed": "of everything random",
}


def add_parser(commands: Subparsers) -> None:
    """Add the commands."""
    parser = commands.add_parser("data", help="make, look at and download data")
    inner = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    _add_synth(inner)
    _add_info(inner)
    _add_fetch(inner)


def _add_synth(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "synth",
        help="write generated data of any size",
        description="Write OUT.train.txt and OUT.test.txt in the Extreme Classification format: seeded, "
        "learnable, labels in clusters with power-law frequencies. Streamed: any size fits in memory.",
    )
    parser.add_argument("out", metavar="OUT", help="path and stem of the files to write")
    for name, text in _SYNTH_HELP.items():
        kind = float if name in ("n_labels_mean", "exponent", "noise") else int
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=text)
    parser.add_argument("--compress", default="", choices=["gz", "bz2", "xz", "zst"], help="of the files")
    add_verbose(parser)
    parser.set_defaults(run=run_synth)


def _add_info(commands: Subparsers) -> None:
    parser = commands.add_parser("info", help="statistics of a data file")
    parser.add_argument("file", metavar="FILE", type=Path)
    add_format(parser)
    parser.add_argument(
        "--cache-dir", type=Path, metavar="DIR", help="of parsed data (default: beside the file)"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    add_verbose(parser)
    parser.set_defaults(run=run_info)


def _add_fetch(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "fetch",
        help="download a public data set",
        description="Download a data set of the catalogue; goes on where one stopped, and checks its sum.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="of the catalogue; none: list it")
    parser.add_argument(
        "--out", type=Path, default=Path("data"), metavar="DIR", help="where to (default: data)"
    )
    parser.add_argument("--catalogue", type=Path, metavar="FILE", help="another catalogue file")
    add_verbose(parser)
    parser.set_defaults(run=run_fetch)


def run_synth(args: argparse.Namespace) -> int:
    """Generate the files."""
    from distlsh.data.synth import write_synth

    config, with_test = synth_config(args)
    suffix = f".{args.compress}" if args.compress else ""
    train = Path(f"{args.out}.train.txt{suffix}")
    test = Path(f"{args.out}.test.txt{suffix}") if with_test else None
    train.parent.mkdir(parents=True, exist_ok=True)
    with Meter() as meter:
        write_synth(config, train, test, progress=meter.of("generating"))
    for path in (train, test):
        if path is not None:
            print(path)
    return 0


def synth_config(args: argparse.Namespace) -> tuple[Any, bool]:
    """Return the checked settings of the command line, and whether a test file is wanted."""
    from distlsh.config.load import parse_config
    from distlsh.config.yamlio import dump

    given = {name: getattr(args, name) for name in _SYNTH_HELP if getattr(args, name) is not None}
    with_test = given.get("n_test") != 0
    if not with_test:
        del given["n_test"]
    try:
        config = parse_config(dump({"data": {"synth": given}}), "")
    except ConfigError as error:
        raise ConfigError(_as_options(str(error))) from None
    return config.data.synth, with_test


def _as_options(text: str) -> str:
    lines = []
    for line in text.splitlines():
        _, _, rest = line.partition("data.synth.")
        name, _, what = rest.partition(":")
        lines.append(f"--{name.replace('_', '-')}:{what}" if rest else line)
    return "\n".join(lines)


def run_info(args: argparse.Namespace) -> int:
    """Print the statistics."""
    import msgspec

    from distlsh.data.info import info, render_info

    with Meter() as meter:
        found = info(args.file, format=args.format, cache_dir=args.cache_dir, progress=meter.of("reading"))
    if args.json:
        print(msgspec.json.encode(found).decode())
    else:
        print(render_info(found))
    return 0


def run_fetch(args: argparse.Namespace) -> int:
    """Download, or list what could be downloaded."""
    from distlsh.data.catalogue import load_catalogue
    from distlsh.data.fetch import fetch

    if args.name is None:
        for name, entry in load_catalogue(args.catalogue).items():
            print(f"{name:<18} {entry.description}")
        return 0
    with Meter() as meter:
        fetched = fetch(
            args.name,
            args.out,
            catalogue=args.catalogue,
            progress=meter,
            notice=lambda text: print(text, file=sys.stderr),
        )
    print(f"train  {fetched.train}")
    if fetched.test is not None:
        print(f"test   {fetched.test}")
    return 0
