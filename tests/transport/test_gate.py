"""A port in front of guarded sockets: what passes, what does not, and what it can cost."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import threading
import time
from contextlib import ExitStack

import pytest
import zmq

from distlsh.config.schema import RunConfig
from distlsh.errors import ResourceError, UsageError
from distlsh.protocol.messages import Heartbeat, Stop, encode
from distlsh.protocol.reports import Notice
from distlsh.runtime.doors import open_doors
from distlsh.transport import limits
from distlsh.transport.context import new_context
from distlsh.transport.control import ControlClient, address
from distlsh.transport.curve import Guard, use_keys
from distlsh.transport.gate import Gate
from distlsh.transport.keys import ClientKeys, new_pair, read_pair, read_public, write_pair
from distlsh.transport.metrics import MetricsHub, subscribe
from tests.in_the_clear import frames_without_keys

NULL_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
CURVE_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + b"\0" + bytes(31)
HUGE_FRAME = b"\x06" + (1 << 40).to_bytes(8, "big")  # a command of 2^40 bytes


@pytest.fixture
def keys(tmp_path):
    """A run's folder of keys that knows `me`, and the keys of `me`."""
    write_pair(tmp_path / "server", "server")
    write_pair(tmp_path / "me", "me")
    shutil.copy(tmp_path / "me/me.key", tmp_path / "server/clients")
    mine = ClientKeys(read_pair(tmp_path / "me", "me"), read_public(tmp_path / "server/server.key"))
    return tmp_path / "server", mine


@pytest.fixture
def patience():
    """Seconds for a handshake: less than a run's."""
    return 1.0


@pytest.fixture
def doors(keys, tmp_path, monkeypatch, patience):
    """A run's sockets with open ports for watchers and children."""
    monkeypatch.setattr(limits, "HANDSHAKE_S", patience)
    (tmp_path / "s").mkdir(mode=0o700)
    with ExitStack() as stack:
        context = new_context()
        stack.callback(context.destroy, 0)
        anywhere = "tcp://127.0.0.1:0"
        run = RunConfig(publish=anywhere, control=anywhere, keys=str(keys[0]))
        yield open_doors(run, tmp_path / "s", context, stack)


def port_of(where):
    return int(where.rpartition(":")[2])


def until(condition, limit_s=15.0):
    end = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.02)
    return value


def heard(doors, keys, seconds=1.0):
    """Return what a watcher with ``keys`` hears while notices are published."""
    got = []
    metrics = subscribe(doors.publish[1], seconds, keys=keys)
    listen = threading.Thread(
        target=lambda: got.extend(metric for metric, _ in zip(metrics, "1", strict=False))
    )
    listen.start()
    while listen.is_alive():
        doors.hub.publish(Notice(level="info", text="a secret"))
        time.sleep(0.05)
    metrics.close()
    return got


def test_a_known_watcher_hears(doors, keys):
    """Metrics come through the port to who has a key that is known."""
    assert heard(doors, keys[1], 5.0)[0] == Notice(level="info", text="a secret")


def test_who_is_unknown_or_takes_another_for_the_server_hears_nothing(doors, keys):
    """No keys, an unknown pair, a child's pair, the wrong server key: silence."""
    mine, child = keys[1], doors.way.client_keys()
    assert child is not None
    for wrong in (ClientKeys(new_pair(), mine.server), child, ClientKeys(mine.pair, new_pair().public)):
        assert heard(doors, wrong, 0.4) == []


def test_who_has_no_keys_hears_nothing(doors):
    """A socket in the clear, as none of distlsh is, gets no frame."""
    got = []
    listen = threading.Thread(target=lambda: got.append(frames_without_keys(doors.publish[1], 0.4)))
    listen.start()
    while listen.is_alive():
        doors.hub.publish(Notice(level="info", text="a secret"))
        time.sleep(0.05)
    assert got == [[]]


def test_a_key_that_is_added_or_taken_away_counts_at_once(doors, keys, tmp_path):
    """The folder of known keys is read at each connection."""
    other = ClientKeys(new_pair(), keys[1].server)
    (keys[0] / "clients/other.key").write_text(f'    public-key = "{other.pair.public.decode()}"\n')
    assert heard(doors, other, 5.0)
    (keys[0] / "clients/other.key").unlink()
    assert heard(doors, other, 0.4) == []
    (keys[0] / "clients/gone.key").symlink_to("nowhere")
    assert heard(doors, keys[1], 0.4) == []
    (keys[0] / "clients/gone.key").unlink()
    assert heard(doors, keys[1], 5.0)  # keys are still looked at
    (keys[0] / "clients").chmod(0o777)
    assert heard(doors, keys[1], 0.4) == []


def test_children_speak_through_the_port_with_the_keys_of_their_setup(doors):
    """Control goes both ways; a watcher's key, and the user's own folder without keys, are not let in."""
    context = zmq.Context()
    child = ControlClient(context, doors.way.control, "worker-0", doors.way.client_keys())
    child.send(Heartbeat(role="worker-0", pid=1))
    assert until(doors.control.receive) == [Heartbeat(role="worker-0", pid=1)]
    doors.control.send("worker-0", Stop())
    assert child.receive(5) == Stop()
    child.close()
    context.term()


def test_only_children_reach_control(doors, keys):
    """A watcher's key does not open it, nor does no key at all."""
    context = zmq.Context()
    for wrong in (None, keys[1]):
        stranger = context.socket(zmq.DEALER)
        stranger.setsockopt(zmq.IDENTITY, b"worker-0")
        use_keys(stranger, wrong)
        stranger.connect(doors.way.control)
        stranger.send(encode(Heartbeat(role="worker-0", pid=1)))
        time.sleep(0.4)
        assert doors.control.receive() == []
        stranger.close(0)
    context.term()


@pytest.mark.parametrize(
    "said",
    [os.urandom(1 << 16), NULL_GREETING, CURVE_GREETING + HUGE_FRAME, b"GET / HTTP/1.1\r\n\r\n", b""],
    ids=["noise", "null", "huge", "http", "silence"],
)
def test_a_raw_connection_reads_nothing_and_is_closed(doors, keys, said):
    """All that comes back is a greeting of 64 bytes; then, or when the handshake takes too long, the end."""
    with socket.create_connection(("127.0.0.1", port_of(doors.publish[1]))) as raw:
        raw.settimeout(limits.HANDSHAKE_S + 10)
        back = b""
        with contextlib.suppress(ConnectionError):
            raw.sendall(said)
            while data := raw.recv(4096):
                back += data
                doors.hub.publish(Notice(level="info", text="a secret"))
    assert len(back) <= 64 and b"secret" not in back
    assert heard(doors, keys[1], 5.0)


@pytest.mark.parametrize("patience", [5.0])  # longer than it takes to connect them all
def test_a_flood_of_connections_costs_little(doors, keys):
    """Of 1,000 open connections some are let wait, the others closed; memory and descriptors stay bounded."""
    descriptors, memory = len(os.listdir("/proc/self/fd")), resident()
    port = port_of(doors.publish[1])
    flood = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        for _ in range(1000):
            with contextlib.suppress(OSError):
                flood.append(socket.create_connection(("127.0.0.1", port), timeout=5))
        assert len(flood) == 1000
        time.sleep(0.3)
        ours = len(os.listdir("/proc/self/fd")) - len(flood) - descriptors
        assert ours < 500, ours
        assert resident() - memory < 64 << 20
        assert heard(doors, keys[1], 20.0)  # a watcher comes in while the flood stands
    finally:
        for raw in flood:
            raw.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors + 10)


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_drop_by_drop_is_closed_too(doors):
    """A peer that sends a byte now and then has no more time for its handshake than others."""
    with socket.create_connection(("127.0.0.1", port_of(doors.publish[1]))) as raw:
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in CURVE_GREETING * 100:
                raw.sendall(bytes([byte]))
                time.sleep(0.1)
                if time.monotonic() - started > limits.HANDSHAKE_S + 10:
                    break
        assert time.monotonic() - started < limits.HANDSHAKE_S + 5


@pytest.mark.parametrize("patience", [30.0])  # so that the flood stands
def test_a_flood_from_elsewhere_leaves_this_machines_places(doors, keys, monkeypatch):
    """Who comes from another address has places of its own: children are not kept out."""
    monkeypatch.setattr("distlsh.transport.gate.MOST", 2)
    with ExitStack() as stack:
        there = ("127.0.0.1", port_of(doors.publish[1]))
        raws = [socket.create_connection(there, source_address=("127.0.0.2", 0)) for _ in range(4)]
        for raw in raws:
            stack.callback(raw.close)
            raw.settimeout(0.5)
        assert heard(doors, keys[1], 5.0)
        assert sorted(is_open(raw) for raw in raws) == [False, False, True, True]


def is_open(raw):
    try:
        while raw.recv(4096):
            pass
    except TimeoutError:
        return True
    except ConnectionError:
        return False
    return False


def test_a_port_that_cannot_be_served_is_an_error(tmp_path, monkeypatch):
    """Where the thread behind it cannot begin, the start does not wait for it; the port is free again."""

    def fails(main):
        main.close()
        raise OSError("too many open files")

    monkeypatch.setattr("distlsh.transport.gate.asyncio.run", fails)
    with pytest.raises(ResourceError, match=r"cannot be served \(too many open files"):
        Gate("127.0.0.1", 0, tmp_path / "x")


def test_a_port_that_is_taken_says_so(tmp_path):
    """The error names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"tcp://127\.0\.0\.1:{port} cannot be listened on"):
            Gate("127.0.0.1", port, tmp_path / "x")


def test_ports_without_usable_keys_are_refused(tmp_path):
    """Missing keys, or a folder of clients that others can write, end the start before a port is open."""
    run = RunConfig(publish="tcp://127.0.0.1:0", keys=str(tmp_path / "none"))
    with new_context() as context, ExitStack() as stack, pytest.raises(UsageError, match="distlsh keygen"):
        open_doors(run, tmp_path, context, stack)
    write_pair(tmp_path / "k", "server")
    (tmp_path / "k/clients").chmod(0o777)
    run = RunConfig(publish="tcp://127.0.0.1:0", keys=str(tmp_path / "k"))
    with (
        new_context() as context,
        ExitStack() as stack,
        pytest.raises(UsageError, match="could let others in"),
    ):
        open_doors(run, tmp_path, context, stack)


def test_nobody_comes_in_when_nobody_checks_keys(tmp_path):
    """Where the thread that answers has ended, a guarded socket is closed to all, not open to all."""
    context, pair = new_context(), new_pair()
    guard = Guard(context)
    where = address(tmp_path, "pub")
    admit = guard.admit(pair, "watchers", lambda: ())
    hub = MetricsHub(context, address(tmp_path, "pull"), {where: admit})
    guard.stop()
    got = []
    metrics = subscribe(where, 0.5, keys=ClientKeys(new_pair(), pair.public))
    listen = threading.Thread(
        target=lambda: got.extend(metric for metric, _ in zip(metrics, "1", strict=False))
    )
    listen.start()
    while listen.is_alive():
        hub.publish(Notice(level="info", text="a secret"))
        time.sleep(0.05)
    metrics.close()
    hub.close()
    context.term()
    assert got == []
