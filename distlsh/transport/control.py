"""Control: one ROUTER of the coordinator, one DEALER a child, over ipc://, or tcp:// with keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import zmq

from distlsh.errors import ProtocolError
from distlsh.protocol.messages import FromChild, ToChild, decode_from_child, decode_to_child, encode
from distlsh.transport.context import Context
from distlsh.transport.curve import Admit, admit_all, use_keys
from distlsh.transport.keys import ClientKeys
from distlsh.transport.limits import bind, bound, connect

_LINGER_MS = 1000
_IPC_PATH_MAX = 100


@dataclass(frozen=True)
class Garbage:
    """What arrived and is no message of its sender; ``role`` is what the sender calls itself."""

    role: str
    what: str


def address(socket_dir: Path, name: str) -> str:
    """Return the ipc address of socket ``name`` in the run's socket folder."""
    path = str(socket_dir / name)
    if len(path) > _IPC_PATH_MAX:
        raise ProtocolError(
            f"the socket path {path} is too long for the system; set XDG_RUNTIME_DIR to a short path"
        )
    return f"ipc://{path}"


class ControlServer:
    """The coordinator's end: messages of children, by role."""

    def __init__(self, context: Context, where: str, admit: Admit = admit_all) -> None:
        self.socket = context.socket(zmq.ROUTER)
        admit(self.socket)
        self.socket.linger = _LINGER_MS
        bound(self.socket)
        # A restarted child takes over its predecessor's identity.
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        bind(self.socket, where)

    def receive(self) -> list[FromChild | Garbage]:
        """Return all that has arrived; what is no message of its sender as `Garbage`."""
        messages: list[FromChild | Garbage] = []
        while True:
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return messages
            messages.append(_checked(frames))

    def send(self, role: str, message: ToChild) -> None:
        """Send to the child ``role``; a child that is gone loses the message."""
        self.socket.send_multipart([role.encode(), encode(message)])

    def close(self) -> None:
        """Close the socket, dropping what could not be sent within a second."""
        self.socket.close()


class ControlClient:
    """A child's end."""

    def __init__(self, context: Context, where: str, role: str, keys: ClientKeys | None = None) -> None:
        self.socket = context.socket(zmq.DEALER)
        use_keys(self.socket, keys)
        self.socket.linger = _LINGER_MS
        bound(self.socket)
        self.socket.setsockopt(zmq.IDENTITY, role.encode())
        connect(self.socket, where)

    def receive(self, timeout_s: float) -> ToChild | None:
        """Return the next message; None if none comes within ``timeout_s``."""
        if not self.socket.poll(int(timeout_s * 1000)):
            return None
        frames = self.socket.recv_multipart()
        if len(frames) != 1:
            raise ProtocolError(f"a message of the coordinator has 1 frame, this one {len(frames)}")
        return decode_to_child(frames[0])

    def send(self, message: FromChild) -> None:
        """Send to the coordinator."""
        self.socket.send(encode(message))

    def close(self) -> None:
        """Close the socket, dropping what could not be sent within a second."""
        self.socket.close()


def _checked(frames: list[bytes]) -> FromChild | Garbage:
    sender = frames[0].decode(errors="replace")
    if len(frames) != 2:
        return Garbage(sender, f"{len(frames) - 1} frames instead of 1")
    try:
        message = decode_from_child(frames[1])
    except ProtocolError as error:
        return Garbage(sender, str(error))
    if message.role.encode() != frames[0]:
        return Garbage(sender, f"a message in the name of {message.role!r}")
    return message
