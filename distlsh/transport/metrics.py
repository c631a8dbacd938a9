"""Metrics: children PUSH, the coordinator PULLs and publishes all again on a PUB socket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import zmq

from distlsh.constants import METRICS_VERSION
from distlsh.errors import ProtocolError
from distlsh.files import short
from distlsh.protocol.messages import Metric, decode_metric, encode
from distlsh.protocol.reports import Notice
from distlsh.transport.context import Context, new_context
from distlsh.transport.curve import Admit, admit_all, use_keys
from distlsh.transport.keys import ClientKeys
from distlsh.transport.limits import MAX_SUBSCRIPTION_BYTES, bind, bound, connect

_VERSION = str(METRICS_VERSION).encode()


class MetricsHub:
    """The coordinator's end: gathers metrics, and publishes each as [topic, version, msgpack].

    The topic is the message's tag: ``worker``, ``rehash``, ``tuned``, ``report``, ``evaluation``,
    ``restart``, ``notice``; the version, `METRICS_VERSION` in digits.
    Subscribers that are too slow lose messages; nobody waits for them.
    ``refused`` counts what came and was no metric.
    """

    def __init__(
        self, context: Context, pull: str, publish: Mapping[str, Admit], admit: Admit = admit_all
    ) -> None:
        """Bind to ``pull``, where those whom ``admit`` lets in push, and to the addresses ``publish``."""
        self.refused = 0
        self.pull = context.socket(zmq.PULL)
        admit(self.pull)
        bound(self.pull)
        bind(self.pull, pull)
        self._publishers = [_publisher(context, where, allow) for where, allow in publish.items()]

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
        data = encode(metric)
        for socket in self._publishers:
            socket.send_multipart([topic, _VERSION, data])

    def _refuse(self, why: str) -> None:
        # Metrics are for looking at: a bad one must not end a run.
        self.refused += 1
        if self.refused == 1:
            self.publish(Notice(level="warning", text=f"something that is no metric was dropped: {why}"))

    def close(self) -> None:
        """Close the sockets."""
        self.pull.close(0)
        for socket in self._publishers:
            socket.close()


def _publisher(context: Context, where: str, admit: Admit) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.PUB)
    socket.linger = 0
    bound(socket, MAX_SUBSCRIPTION_BYTES)
    admit(socket)
    bind(socket, where)
    return socket


class MetricsClient:
    """A child's end; never blocks: a metric that cannot be sent is dropped."""

    def __init__(self, context: Context, where: str, keys: ClientKeys | None = None) -> None:
        self._socket = context.socket(zmq.PUSH)
        use_keys(self._socket, keys)
        self._socket.linger = 200
        connect(self._socket, where)

    def send(self, metric: Metric) -> None:
        """Send a metric, or drop it."""
        try:
            self._socket.send(encode(metric), zmq.NOBLOCK)
        except zmq.Again:
            return

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def subscribe(
    where: str, timeout_s: float | None = None, topic: str = "", keys: ClientKeys | None = None
) -> Iterator[Metric]:
    """Yield the metrics published at ``where`` until none comes for ``timeout_s``.

    For outsiders: another process of the same user that watches a run, or with ``keys`` another machine's.
    Raises ProtocolError at what is no metric of this version.
    """
    context = new_context()
    socket = context.socket(zmq.SUB)
    try:
        bound(socket)
        use_keys(socket, keys)
        socket.subscribe(topic)
        connect(socket, where)
        while socket.poll(None if timeout_s is None else int(timeout_s * 1000)):
            yield _published(socket.recv_multipart(), where)
    finally:
        socket.close(0)
        context.term()


def _published(frames: list[bytes], where: str) -> Metric:
    if len(frames) != 3:
        raise ProtocolError(f"{where} does not publish distlsh metrics")
    if frames[1] != _VERSION:
        version = short(frames[1].decode(errors="replace"))
        raise ProtocolError(
            f"{where} publishes metrics of version {version}, this distlsh reads {METRICS_VERSION}: "
            "watch it with the distlsh that trains"
        )
    return decode_metric(frames[2])
