"""The zmq context of a process, and waiting on sockets and descriptors together."""

from __future__ import annotations

import zmq

Context = zmq.Context[zmq.Socket[bytes]]


def new_context() -> Context:
    """Return a context; `term` waits for its sockets to be closed."""
    return zmq.Context()


class Waiter:
    """Waits until one of some sockets or file descriptors can be read."""

    def __init__(self, *sources: zmq.Socket[bytes] | int) -> None:
        self._poller = zmq.Poller()
        for source in sources:
            self._poller.register(source, zmq.POLLIN)

    def wait(self, timeout_s: float) -> None:
        """Return when something can be read, or after ``timeout_s``."""
        self._poller.poll(int(timeout_s * 1000))
