"""Real sockets between threads of one process."""

from __future__ import annotations

import os
import threading
import time

import pytest
import zmq

from distlsh.errors import ProtocolError, UsageError
from distlsh.protocol.messages import Assign, Done, Heartbeat, Stop, Task, WorkerMetrics, encode
from distlsh.protocol.reports import Notice
from distlsh.transport.control import ControlClient, ControlServer, Garbage, address
from distlsh.transport.curve import admit_all
from distlsh.transport.limits import MAX_MESSAGE_BYTES, MAX_SUBSCRIPTION_BYTES
from distlsh.transport.metrics import MetricsClient, MetricsHub, subscribe


@pytest.fixture
def context():
    made = zmq.Context()
    yield made
    closing = threading.Thread(target=made.term)
    closing.start()
    closing.join(5)
    assert not closing.is_alive(), "a socket was left open"


def until(condition, limit_s=5.0):
    end = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < end, "nothing arrived"
        time.sleep(0.01)
    return value


def test_control_messages_go_both_ways_by_role(context, tmp_path):
    """A child's message arrives typed; the answer finds the child by its role."""
    server = ControlServer(context, address(tmp_path, "c"))
    a = ControlClient(context, address(tmp_path, "c"), "worker-0")
    b = ControlClient(context, address(tmp_path, "c"), "rehasher")
    a.send(Done(role="worker-0", pid=1, task_id=5))
    b.send(Heartbeat(role="rehasher", pid=2))
    seen = []
    until(lambda: seen.extend(server.receive()) or len(seen) == 2)
    assert {type(m) for m in seen} == {Done, Heartbeat}
    task = Task(id=5, kind="train", first=0, last=10)
    server.send("worker-0", Assign(task))
    server.send("rehasher", Stop())
    assert a.receive(5) == Assign(task)
    assert b.receive(5) == Stop()
    assert b.receive(0.01) is None
    for end in (server, a, b):
        end.close()


def test_a_restarted_child_takes_over_its_role(context, tmp_path):
    """The second DEALER with an identity gets what is sent to the role."""
    server = ControlServer(context, address(tmp_path, "c"))
    first = ControlClient(context, address(tmp_path, "c"), "worker-0")
    first.send(Heartbeat(role="worker-0", pid=1))
    until(server.receive)
    second = ControlClient(context, address(tmp_path, "c"), "worker-0")
    second.send(Heartbeat(role="worker-0", pid=2))
    until(server.receive)
    server.send("worker-0", Stop())
    assert second.receive(5) == Stop()
    for end in (server, first, second):
        end.close()


@pytest.mark.parametrize(
    ("frames", "what"),
    [
        ([b"\xc1\xff"], "not a message"),
        ([b""], "not a message"),
        ([encode({"type": "nonsense"})], "not a message"),
        ([encode(Heartbeat(role="worker-0", pid=1)), b"more"], "2 frames"),
        ([encode(Heartbeat(role="worker-1", pid=1))], "in the name of 'worker-1'"),
    ],
    ids=["bytes", "empty", "type", "frames", "role"],
)
def test_garbage_on_the_control_socket_is_told_from_messages(context, tmp_path, frames, what):
    """What is no message of its sender comes out as Garbage, and what follows it as what it is."""
    server = ControlServer(context, address(tmp_path, "c"))
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.IDENTITY, b"worker-0")
    dealer.connect(address(tmp_path, "c"))
    dealer.send_multipart(frames)
    dealer.send(encode(Heartbeat(role="worker-0", pid=7)))
    seen = []
    until(lambda: seen.extend(server.receive()) or len(seen) == 2)
    assert isinstance(seen[0], Garbage) and seen[0].role == "worker-0" and what in seen[0].what
    assert seen[1] == Heartbeat(role="worker-0", pid=7)
    dealer.close(0)
    server.close()


def test_a_sender_without_a_name_is_garbage(context, tmp_path):
    """A DEALER that gives no identity cannot speak for a role."""
    server = ControlServer(context, address(tmp_path, "c"))
    dealer = context.socket(zmq.DEALER)
    dealer.connect(address(tmp_path, "c"))
    dealer.send(encode(Heartbeat(role="worker-0", pid=7)))
    (garbage,) = until(server.receive)
    assert isinstance(garbage, Garbage) and garbage.role != "worker-0"
    dealer.close(0)
    server.close()


def test_a_message_that_is_too_long_never_arrives(context, tmp_path):
    """Its sender is cut off; others are heard."""
    server = ControlServer(context, address(tmp_path, "c"))
    long = context.socket(zmq.DEALER)
    long.setsockopt(zmq.IDENTITY, b"worker-0")
    long.connect(address(tmp_path, "c"))
    long.send(encode(Done(role="worker-0", pid=1, task_id=1, result=bytes(MAX_MESSAGE_BYTES + 1))))
    other = ControlClient(context, address(tmp_path, "c"), "worker-1")
    other.send(Heartbeat(role="worker-1", pid=2))
    seen = []
    until(lambda: seen.extend(server.receive()) or seen)
    time.sleep(0.2)
    assert seen + server.receive() == [Heartbeat(role="worker-1", pid=2)]
    long.close(0)
    other.close()
    server.close()


@pytest.mark.parametrize("frames", [[b"\xc1"], [b""], [b"a", b"b"], [bytes(MAX_MESSAGE_BYTES + 1)]])
def test_garbage_among_the_metrics_is_dropped(context, tmp_path, frames):
    """What is no metric is neither received nor published; the next one is."""
    hub = MetricsHub(context, address(tmp_path, "pull"), {address(tmp_path, "pub"): admit_all})
    push = context.socket(zmq.PUSH)
    push.connect(address(tmp_path, "pull"))
    push.send_multipart(frames)
    push.send(encode(Notice(level="info", text="x")))
    assert until(hub.receive) == [Notice(level="info", text="x")]
    push.close(0)
    hub.close()


def test_a_publisher_takes_only_short_subscriptions(context, tmp_path):
    """A subscription longer than the limit is cut off: it does not fill the publisher's memory."""
    where = address(tmp_path, "pub")
    hub = MetricsHub(context, address(tmp_path, "pull"), {where: admit_all})
    long, short = context.socket(zmq.SUB), context.socket(zmq.SUB)
    long.subscribe("a" * MAX_SUBSCRIPTION_BYTES)  # sent before the next, in the alphabet's order
    for socket in (long, short):
        socket.subscribe("notice")
        socket.connect(where)
    until(lambda: hub.publish(Notice(level="info", text="x")) or short.poll(10))
    hub.publish(Notice(level="info", text="x"))
    assert not long.poll(100)
    for socket in (long, short):
        socket.close(0)
    hub.close()


def test_socket_files_are_their_owners_alone(context, tmp_path):
    """Under the most careless umask, files of sockets have mode 0600."""
    before = os.umask(0)
    try:
        server = ControlServer(context, address(tmp_path, "c"))
        hub = MetricsHub(context, address(tmp_path, "pull"), {address(tmp_path, "pub"): admit_all})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    server.close()
    hub.close()


def test_metrics_are_published_again_for_outsiders(context, tmp_path):
    """What a child pushes, a subscriber with a context of its own receives."""
    publish = address(tmp_path, "pub")
    hub = MetricsHub(context, address(tmp_path, "pull"), {publish: admit_all})
    child = MetricsClient(context, address(tmp_path, "pull"))
    metric = WorkerMetrics(role="worker-0", task_id=1, samples=2, busy_s=0.5, loss_sum=1.0)
    got = []
    outsider = threading.Thread(target=lambda: got.append(next(subscribe(publish, timeout_s=5))))
    outsider.start()

    def sent_and_got():
        child.send(metric)
        hub.receive()
        return got

    assert until(sent_and_got) == [metric]
    outsider.join()
    child.close()
    hub.close()


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([b"notice", b"\xc1"], "does not publish distlsh metrics"),
        ([b"notice", b"1", b"\xc1"], "version 1, this distlsh reads 2"),
        ([b"notice", b"2", b"\xc1"], "not a message"),
    ],
)
def test_metrics_of_another_version_are_refused_with_both_versions(context, tmp_path, frames, said):
    """Who watches a run of another version is told so, and what to do."""
    where = address(tmp_path, "pub")
    publisher = context.socket(zmq.PUB)
    publisher.bind(where)
    errors = []

    def watch():
        with pytest.raises(ProtocolError, match=said) as raised:
            next(subscribe(where, timeout_s=5))
        errors.append(raised.value)

    watcher = threading.Thread(target=watch)
    watcher.start()
    until(lambda: publisher.send_multipart(frames) or errors)
    watcher.join()
    publisher.close(0)


def test_no_socket_goes_over_tcp_without_keys(context):
    """Neither end of control or metrics opens or calls a port in the clear."""
    where = "tcp://127.0.0.1:9"
    for opened in (
        lambda: ControlServer(context, where),
        lambda: ControlClient(context, where, "worker-0"),
        lambda: MetricsHub(context, where, {}),
        lambda: MetricsClient(context, where),
        lambda: next(subscribe(where, timeout_s=1)),
    ):
        with pytest.raises(UsageError, match="distlsh keygen"):
            opened()


def test_too_long_a_socket_path_says_what_to_do(tmp_path):
    """Unix sockets have short names: the error names the variable to set."""
    with pytest.raises(ProtocolError, match="XDG_RUNTIME_DIR"):
        address(tmp_path / ("x" * 120), "c")
