"""``distlsh keygen``: keys for the ports that a run opens to the network."""

from __future__ import annotations

import argparse
from pathlib import Path

from distlsh.cli.commands import Subparsers, add_verbose

_SERVER_NEXT = """\
next: copy {public} to each machine that shall watch,
      and the .key file of each watcher to {clients}
then: distlsh-launch ... --set run.publish=tcp://0.0.0.0:5555 --set run.keys={folder}"""

_CLIENT_NEXT = """\
next: give {public} to who starts the run, for the folder clients of the run's keys,
      and put the run's server.key into {folder}
then: distlsh watch tcp://HOST:PORT --keys {folder}"""


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "keygen",
        help="make keys for runs that open a port to the network",
        description="Write DIR/NAME.key, which may be given away, and DIR/NAME.key_secret, which never is. "
        "Nothing is overwritten. A run's own pair is named server; DIR/clients holds the public keys of "
        "those who may watch it.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="where to; made if missing")
    parser.add_argument("--name", default="server", help="of the pair (default: server, a run's own)")
    add_verbose(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the pair, and say what to do with it."""
    from distlsh.transport.keys import CLIENTS, SERVER, write_pair

    public, secret = write_pair(args.folder, args.name)
    print(f"public  {public}\nsecret  {secret}: keep it on this machine, readable by you alone")
    text = _SERVER_NEXT if args.name == SERVER else _CLIENT_NEXT
    print(text.format(public=public, folder=args.folder, clients=args.folder / CLIENTS))
    return 0
