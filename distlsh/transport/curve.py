"""Who may speak to a socket: CURVE, with the keys that the server knows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import zmq

from distlsh.errors import UsageError
from distlsh.transport.context import Context
from distlsh.transport.keys import ClientKeys, KeyPair

Admit = Callable[[zmq.Socket[bytes]], None]
"""Decides who may connect to a socket; called before it is bound."""

_log = logging.getLogger(__name__)


def admit_all(socket: zmq.Socket[bytes]) -> None:
    """Let everyone in who reaches the socket: it lies in a folder of its owner alone."""


class _Known:
    """Answers for one socket whether a key may enter."""

    def __init__(self, keys: Callable[[], Collection[bytes]]) -> None:
        self._keys = keys

    def callback(self, domain: str, key: bytes) -> bool:
        try:
            return key in self._keys()
        except (UsageError, OSError) as error:  # of the folder of keys, while a run lives: nobody new enters
            _log.warning(str(error))
            return False


class Guard:
    """Checks the keys of who connects, for all guarded sockets of a context."""

    def __init__(self, context: Context) -> None:
        """Start the thread that answers; `stop` ends it, before the context ends."""
        from zmq.auth.thread import ThreadAuthenticator  # brings asyncio, which other runs do without

        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.start()

    def admit(self, pair: KeyPair, name: str, known: Callable[[], Collection[bytes]]) -> Admit:
        """Return what lets only clients with keys ``known()`` in.

        pair   of the server
        name   of the socket; one of its own each
        known  is asked at each connection, in another thread
        """
        self._authenticator.configure_curve_callback(domain=name, credentials_provider=_Known(known))

        def admit(socket: zmq.Socket[bytes]) -> None:
            socket.curve_server = True
            socket.curve_publickey = pair.public
            socket.curve_secretkey = pair.secret
            socket.setsockopt_string(zmq.ZAP_DOMAIN, name)
            # Without it libzmq lets everyone in where nobody answers.
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

        return admit

    def stop(self) -> None:
        """End the thread; nobody can connect any more."""
        self._authenticator.stop()


def use_keys(socket: zmq.Socket[bytes], keys: ClientKeys | None) -> None:
    """Make ``socket`` a client with ``keys``, before it is connected; None: of the user's own sockets."""
    if keys is None:
        return
    socket.curve_serverkey = keys.server
    socket.curve_publickey = keys.pair.public
    socket.curve_secretkey = keys.pair.secret
