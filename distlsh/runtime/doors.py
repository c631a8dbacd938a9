"""A run's sockets: where they are, and who may come in."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from distlsh.config.addresses import split_tcp
from distlsh.config.schema import RunConfig
from distlsh.errors import UsageError
from distlsh.transport.context import Context
from distlsh.transport.control import ControlServer, address
from distlsh.transport.curve import Admit, Guard, admit_all
from distlsh.transport.keys import CLIENTS, SERVER, ClientKeys, KeyPair, known_keys, new_pair, read_pair
from distlsh.transport.metrics import MetricsHub


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How a child reaches its coordinator."""

    control: str
    metrics: str
    keys: tuple[bytes, bytes, bytes] | None = None  # own public and secret, the server's public; for tcp

    def __repr__(self) -> str:
        return f"Way({self.control!r}, {self.metrics!r})"  # a secret key has no place in a log

    def client_keys(self) -> ClientKeys | None:
        """Return the keys as sockets take them."""
        return None if self.keys is None else ClientKeys(KeyPair(*self.keys[:2]), self.keys[2])


@dataclass(frozen=True)
class Doors:
    """The coordinator's sockets, and what others must know to reach them."""

    control: ControlServer
    hub: MetricsHub
    publish: list[str]  # addresses for watchers, first that of this user's own processes
    way: Way


def open_doors(run: RunConfig, folder: Path, context: Context, stack: ExitStack) -> Doors:
    """Bind the run's sockets in its folder, and open ports where ``run`` asks for them; ``stack`` closes all.

    UsageError for an address that cannot be had, or keys that are missing or not the user's alone.
    """
    publish, way = (
        address(folder, "publish"),
        Way(control=address(folder, "control"), metrics=address(folder, "metrics")),
    )
    doors = _Network(run, folder, context, stack) if run.publish or run.control else None
    inside = doors.children if doors is not None and run.control else admit_all
    outside = {doors.inner: doors.watchers} if doors is not None and run.publish else {}
    control = ControlServer(context, way.control, inside)
    stack.callback(control.close)
    hub = MetricsHub(context, way.metrics, {publish: admit_all, **outside}, inside)
    stack.callback(hub.close)
    if doors is None:
        return Doors(control, hub, [publish], way)
    return Doors(control, hub, [publish, *doors.published()], doors.way(way))


class _Network:
    """What stands between a run's sockets and the network: keys, and ports."""

    def __init__(self, run: RunConfig, folder: Path, context: Context, stack: ExitStack) -> None:
        keys = Path(run.keys or "")
        pair, clients = read_pair(keys, SERVER), keys / CLIENTS
        known_keys(clients)  # a folder that cannot be used is told at once
        guard = Guard(context)
        stack.callback(guard.stop)
        self._run, self._folder, self._stack = run, folder, stack
        self._server, self._child = pair.public, new_pair()
        self.inner = address(folder, "publish-out")
        self.watchers: Admit = guard.admit(pair, "watchers", lambda: known_keys(clients))
        self.children: Admit = guard.admit(pair, "children", lambda: (self._child.public,))

    def published(self) -> list[str]:
        """Open the port for watchers, if one is asked for; return its address."""
        return [self._gate(self._run.publish, "publish-out")] if self._run.publish else []

    def way(self, inside: Way) -> Way:
        """Open the ports for children, if they are asked for; return how children come."""
        if not self._run.control:
            return inside
        return Way(
            control=self._gate(self._run.control, "control"),
            metrics=self._gate(self._run.control, "metrics", further=1),
            keys=(self._child.public, self._child.secret, self._server),
        )

    def _gate(self, where: str, name: str, further: int = 0) -> str:
        from distlsh.transport.gate import Gate  # brings asyncio, which other runs do without

        found = split_tcp(where)
        if found is None:
            raise UsageError(f"found {where!r}; allowed: tcp://HOST:PORT, such as tcp://0.0.0.0:5555")
        host, port = found
        gate = Gate(host, port and port + further, self._folder / name)
        self._stack.callback(gate.close)
        return gate.address
