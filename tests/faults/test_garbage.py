"""Nonsense on the sockets of a run that trains."""

from __future__ import annotations

import os

import pytest
import zmq
from watching import Watcher, child

from distlsh.protocol.messages import Failed, Heartbeat, encode
from distlsh.runtime.launch import run
from distlsh.shm.names import socket_root

NONSENSE = [[b""], [b"\xc1" * 100], [b"a", b"b", b"c"], [bytes(1 << 21)], [encode({"type": "hello"})]]


def sockets():
    """Return the folder of the sockets of this process's run."""
    return next(path.parent for path in socket_root().glob(f"distlsh-{os.getpid()}-*/control"))


def send(kind, name, identity, messages):
    context = zmq.Context()
    socket = context.socket(kind)
    socket.linger = 1000
    if identity is not None:
        socket.setsockopt(zmq.IDENTITY, identity)
    socket.connect(f"ipc://{sockets() / name}")
    for frames in messages:
        socket.send_multipart(frames)
    socket.close()
    context.term()


@pytest.mark.parametrize(
    "identity",
    [
        pytest.param(None, id="none", marks=pytest.mark.slow),
        pytest.param(b"worker-9", id="unknown", marks=pytest.mark.slow),
        pytest.param(b"\xff\xfe", id="bytes"),
    ],
)
def test_nonsense_of_a_stranger_ends_nothing(config, tmp_path, identity):
    """It is dropped and said once; no child is restarted, no sample lost."""

    def disturb(watcher):
        send(zmq.DEALER, "control", identity, NONSENSE[:3] * 20)
        send(zmq.DEALER, "control", identity, [[encode(Heartbeat(role="worker-0", pid=1))]])
        forged = Failed(role="worker-0", pid=child("worker-0").pid, traceback="forged")
        send(zmq.DEALER, "control", identity, [[encode(forged)]])
        send(zmq.PUSH, "metrics", None, NONSENSE)

    watcher = Watcher(1000, disturb)
    summary = run(config(), observer=watcher, run_dir=tmp_path / "run")
    assert watcher.at is None and summary.status == "completed"
    assert (summary.samples, summary.worker_restarts) == (12_000, 0)
    assert sum("no message of its own" in notice.text for notice in watcher.notices) == 1


def test_a_child_that_speaks_nonsense_is_replaced(config, tmp_path):
    """Its work is done by its successor, and the run says why."""
    watcher = Watcher(1000, lambda _: send(zmq.DEALER, "control", b"worker-1", [[b"\xc1"]]))
    summary = run(config(), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.worker_restarts == 1 and summary.samples == 12_000
    assert any("'worker-1' sent what is no message of its own" in n.text for n in watcher.notices)
