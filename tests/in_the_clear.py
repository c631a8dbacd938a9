"""A watcher without keys, which distlsh itself refuses to be."""

from __future__ import annotations

import zmq


def frames_without_keys(where: str, seconds: float) -> list[bytes]:
    """Return what a subscriber in the clear receives at ``where`` within ``seconds`` of silence."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.subscribe("")
        socket.connect(where)
        found: list[bytes] = []
        while socket.poll(int(seconds * 1000)):
            found += socket.recv_multipart()
    return found
