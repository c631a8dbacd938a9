"""What every receiving socket is held to, so that no peer can fill this process's memory."""

from __future__ import annotations

import os

import zmq

from distlsh.errors import UsageError

MAX_MESSAGE_BYTES = 1 << 20
"""Longest frame of a message; a peer that sends a longer one is cut off."""

MAX_SUBSCRIPTION_BYTES = 1 << 10
"""Longest frame that a publisher takes: subscriptions, and the commands of a handshake."""

HANDSHAKE_S = 5.0
"""A connection that has not finished its handshake by then is closed."""

_HIGH_WATER = 10_000


def bound(socket: zmq.Socket[bytes], most_bytes: int = MAX_MESSAGE_BYTES) -> None:
    """Limit what peers of ``socket`` can make it hold; before it is bound or connected."""
    socket.setsockopt(zmq.MAXMSGSIZE, most_bytes)
    socket.setsockopt(zmq.RCVHWM, _HIGH_WATER)
    socket.setsockopt(zmq.HANDSHAKE_IVL, int(HANDSHAKE_S * 1000))


def bind(socket: zmq.Socket[bytes], where: str) -> None:
    """Bind ``socket``; the file of an ipc address is open to its owner alone, whatever the umask.

    Raises UsageError where ``where`` is tcp:// and the socket has no keys.
    """
    _need_keys(socket, where)
    socket.bind(where)
    if where.startswith("ipc://"):
        os.chmod(where.removeprefix("ipc://"), 0o600)


def connect(socket: zmq.Socket[bytes], where: str) -> None:
    """Connect ``socket``; UsageError where ``where`` is tcp:// and the socket has no keys."""
    _need_keys(socket, where)
    socket.connect(where)


def _need_keys(socket: zmq.Socket[bytes], where: str) -> None:
    if not where.startswith("ipc://") and socket.mechanism != zmq.CURVE:
        socket.close(0)
        raise UsageError(
            f"{where}: only ipc:// goes without keys; make yours with: distlsh keygen DIR --name me"
        )
