"""Metrics: children PUSH, the coordinator PULLs and publishes all again on a PUB socket."""

from __future__ import annotations

from collections.abc import Iterator

import zmq

from distlsh.errors import ProtocolError
from distlsh.protocol.messages import Metric, decode_metric, encode
from distlsh.protocol.reports import Notice
from distlsh.transport.context import Context, new_context
from distlsh.transport.limits import MAX_SUBSCRIPTION_BYTES, bind, bound


class MetricsHub:
    """The coordinator's end: gathers metrics, and publishes each as [topic, msgpack].

    The topic is the message's tag: ``worker``, ``rehash``, ``tuned``, ``report``, ``evaluation``,
    ``restart``, ``notice``.  Subscribers that are too slow lose messages; nobody waits for them.
    ``refused`` counts what came and was no metric.
    """

    def __init__(self, context: Context, pull: str, publish: str) -> None:
        self.refused = 0
        self.pull = context.socket(zmq.PULL)
        bound(self.pull)
        bind(self.pull, pull)
        self._publish = context.socket(zmq.PUB)
        self._publish.linger = 0
        bound(self._publish, MAX_SUBSCRIPTION_BYTES)
        bind(self._publish, publish)

    def receive(self) -> list[Metric]:
        """Return the metrics that have arrived, published again."""
        metrics: list[Metric] = []
        while True:
            try:
                frames = self.pull.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return metrics
            try:
                metric = decode_metric(frames[0] if len(frames) == 1 else b"")
            except ProtocolError as error:
                self._refuse(str(error))
                continue
            self.publish(metric)
            metrics.append(metric)

    def publish(self, metric: Metric) -> None:
        """Send a metric to the subscribers."""
        topic = str(metric.__struct_config__.tag).encode()
        self._publish.send_multipart([topic, encode(metric)])

    def _refuse(self, why: str) -> None:
        # Metrics are for looking at: a bad one must not end a run.
        self.refused += 1
        if self.refused == 1:
            self.publish(Notice(level="warning", text=f"something that is no metric was dropped: {why}"))

    def close(self) -> None:
        """Close both sockets."""
        self.pull.close(0)
        self._publish.close()


class MetricsClient:
    """A child's end; never blocks: a metric that cannot be sent is dropped."""

    def __init__(self, context: Context, where: str) -> None:
        self._socket = context.socket(zmq.PUSH)
        self._socket.linger = 200
        self._socket.connect(where)

    def send(self, metric: Metric) -> None:
        """Send a metric, or drop it."""
        try:
            self._socket.send(encode(metric), zmq.NOBLOCK)
        except zmq.Again:
            return

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def subscribe(where: str, timeout_s: float | None = None, topic: str = "") -> Iterator[Metric]:
    """Yield the metrics published at ``where`` until none comes for ``timeout_s``.

    For outsiders: another process of the same user that watches a run.
    """
    context = new_context()
    socket = context.socket(zmq.SUB)
    try:
        bound(socket)
        socket.subscribe(topic)
        socket.connect(where)
        while socket.poll(None if timeout_s is None else int(timeout_s * 1000)):
            parts = socket.recv_multipart()
            if len(parts) != 2:
                raise ProtocolError(f"{where} does not publish distlsh metrics")
            yield decode_metric(parts[1])
    finally:
        socket.close(0)
        context.term()
