"""Real sockets between threads of one process."""

from __future__ import annotations

import threading
import time

import pytest
import zmq

from distlsh.errors import ProtocolError
from distlsh.protocol.messages import Assign, Done, Heartbeat, Stop, Task, WorkerMetrics, encode
from distlsh.transport.control import ControlClient, ControlServer, address
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
    a.send(Done(role="worker-0", pid=1, task_id=5, result=b"x"))
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


def test_garbage_on_the_control_socket_is_an_error(context, tmp_path):
    """What is no message raises ProtocolError instead of being taken for one."""
    server = ControlServer(context, address(tmp_path, "c"))
    dealer = context.socket(zmq.DEALER)
    dealer.connect(address(tmp_path, "c"))
    dealer.send(encode({"type": "nonsense"}))
    with pytest.raises(ProtocolError, match="not a message"):
        until(server.receive)
    dealer.close(0)
    server.close()


def test_metrics_are_published_again_for_outsiders(context, tmp_path):
    """What a child pushes, a subscriber with a context of its own receives."""
    publish = address(tmp_path, "pub")
    hub = MetricsHub(context, address(tmp_path, "pull"), publish)
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


def test_too_long_a_socket_path_says_what_to_do(tmp_path):
    """Unix sockets have short names: the error names the variable to set."""
    with pytest.raises(ProtocolError, match="XDG_RUNTIME_DIR"):
        address(tmp_path / ("x" * 120), "c")
