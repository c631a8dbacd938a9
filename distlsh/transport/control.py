"""Control: one ROUTER of the coordinator, one DEALER a child, over ipc://."""

from __future__ import annotations

from pathlib import Path

import zmq

from distlsh.errors import ProtocolError
from distlsh.protocol.messages import FromChild, ToChild, decode_from_child, decode_to_child, encode
from distlsh.transport.context import Context

_LINGER_MS = 1000
_MAX_MESSAGE_BYTES = 1 << 20
_IPC_PATH_MAX = 100


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

    def __init__(self, context: Context, where: str) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = _LINGER_MS
        self.socket.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE_BYTES)
        # A restarted child takes over its predecessor's identity.
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self.socket.bind(where)

    def receive(self) -> list[FromChild]:
        """Return all messages that have arrived."""
        messages: list[FromChild] = []
        while True:
            try:
                _, data = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return messages
            messages.append(decode_from_child(data))

    def send(self, role: str, message: ToChild) -> None:
        """Send to the child ``role``; a child that is gone loses the message."""
        self.socket.send_multipart([role.encode(), encode(message)])

    def close(self) -> None:
        """Close the socket, dropping what could not be sent within a second."""
        self.socket.close()


class ControlClient:
    """A child's end."""

    def __init__(self, context: Context, where: str, role: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = _LINGER_MS
        self.socket.setsockopt(zmq.IDENTITY, role.encode())
        self.socket.connect(where)

    def receive(self, timeout_s: float) -> ToChild | None:
        """Return the next message; None if none comes within ``timeout_s``."""
        if not self.socket.poll(int(timeout_s * 1000)):
            return None
        return decode_to_child(self.socket.recv())

    def send(self, message: FromChild) -> None:
        """Send to the coordinator."""
        self.socket.send(encode(message))

    def close(self) -> None:
        """Close the socket, dropping what could not be sent within a second."""
        self.socket.close()
