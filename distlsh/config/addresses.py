"""Addresses on the network."""

from __future__ import annotations

import re

_TCP = re.compile(r"tcp://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+|\*):(\d{1,5}|\*)", re.ASCII)
LAST_PORT = (1 << 16) - 1


def split_tcp(where: str) -> tuple[str, int] | None:
    """Return host and port of ``tcp://HOST:PORT``, None if ``where`` is none.

    HOST ``*`` is every address of this machine, PORT ``*`` or 0 any free one.
    """
    match = _TCP.fullmatch(where)
    if match is None or (port := int(match[2].replace("*", "0"))) > LAST_PORT:
        return None
    return match[1].strip("[]").replace("*", "0.0.0.0"), port
