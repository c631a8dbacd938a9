"""A run whose ports are open to the network, and who knocks there."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time

import msgspec
import psutil
import pytest
from watching import Watcher, kill

from distlsh.cli.main import main
from distlsh.errors import UsageError
from distlsh.protocol.reports import Report
from distlsh.runtime.launch import run
from distlsh.runtime.run_dir import RunDir
from distlsh.transport.keys import ClientKeys, new_pair, read_pair, read_public, write_pair
from distlsh.transport.metrics import subscribe
from tests.in_the_clear import frames_without_keys


@pytest.fixture
def keys(tmp_path):
    """A run's keys, and those of someone it knows."""
    write_pair(tmp_path / "server", "server")
    write_pair(tmp_path / "me", "me")
    shutil.copy(tmp_path / "me/me.key", tmp_path / "server/clients")
    return ClientKeys(read_pair(tmp_path / "me", "me"), read_public(tmp_path / "server/server.key"))


@pytest.fixture
def networked(config, tmp_path, keys):
    def make(**groups):
        where = "tcp://127.0.0.1:0"
        return config(run={"publish": where, "control": where, "keys": str(tmp_path / "server")}, **groups)

    return make


def listening():
    """Return the TCP ports on which this process listens."""
    found = psutil.Process().net_connections(kind="tcp")
    return {one.laddr.port for one in found if one.status == psutil.CONN_LISTEN}


class Besieged(Watcher):
    """Knocks at every port once the run trains, kills a worker meanwhile, listens with keys and without."""

    def __init__(self, keys):
        super().__init__(1000, self.begin)
        self.keys, self.heard, self.threads, self.read = keys, {}, [], []

    def begin(self, _):
        addresses = RunDir(self.run_dir).addresses()
        tcp = next(where for where in addresses if where.startswith("tcp://"))
        stranger = ClientKeys(new_pair(), self.keys.server)
        for name, keys in (("known", self.keys), ("stranger", stranger)):
            self.go(self.listen, name, tcp, keys)
        self.go(self.listen_in_the_clear, tcp)
        ports = listening()
        assert len(ports) == 3
        for port in ports:
            self.go(self.knock, port)
        kill("worker-1")(self)

    def go(self, what, *arguments):
        self.threads.append(threading.Thread(target=what, args=arguments))
        self.threads[-1].start()

    def listen(self, name, where, keys):
        self.heard[name] = list(subscribe(where, timeout_s=2.0, keys=keys))

    def listen_in_the_clear(self, where):
        self.heard["none"] = frames_without_keys(where, 2.0)

    def knock(self, port):
        for said in (
            os.urandom(1 << 16),
            b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48),
            b"\x06" + b"\xff" * 8,
        ):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as raw:
                raw.settimeout(1)
                raw.sendall(said)
                self.read.append(raw.recv(1 << 16))
        end, flood = time.monotonic() + 1.5, []
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                flood.append(socket.create_connection(("127.0.0.1", port), 0.2))
            if len(flood) > 150:
                flood.pop(0).close()
        for raw in flood:
            raw.close()


def test_a_run_under_siege_completes_and_tells_only_who_is_known(networked, keys, tmp_path):
    """Floods and noise at its ports, a worker killed meanwhile: all samples, the same P@1, nothing read."""
    watcher = Besieged(keys)
    summary = run(networked(train={"epochs": 12}), observer=watcher, run_dir=tmp_path / "run")
    for thread in watcher.threads:
        thread.join()
    assert summary.status == "completed" and summary.worker_restarts == 1
    assert summary.samples == 72_000 and summary.p_at_1 > 0.4
    assert any(isinstance(metric, Report) for metric in watcher.heard["known"])
    assert watcher.heard["stranger"] == watcher.heard["none"] == []
    assert len(watcher.threads) >= 6 and all(len(data) <= 64 for data in watcher.read)


def test_where_a_run_can_be_watched_is_noted_while_it_lives(config, tmp_path, capsys):
    """The run directory names the address, for its owner alone; `distlsh watch RUN` follows it."""
    found, codes = [], []
    command = ["watch", str(tmp_path / "run"), "--timeout", "1.5"]
    watching = threading.Thread(target=lambda: codes.append(main(command)))

    def look(watcher):
        path = watcher.run_dir / ".published"
        found.append((path.stat().st_mode & 0o777, RunDir(watcher.run_dir).addresses()))
        watching.start()

    run(config(train={"epochs": 6}), observer=Watcher(1000, look), run_dir=tmp_path / "run")
    watching.join()
    assert codes == [0] and "samples/s" in capsys.readouterr().out
    (mode, (address,)) = found[0]
    assert mode == 0o600 and address.startswith("ipc://")
    assert not (tmp_path / "run/.published").exists()
    with pytest.raises(UsageError, match="no run is under way"):
        RunDir(tmp_path / "run").addresses()


def test_a_taken_port_ends_the_start_and_leaves_nothing(networked, tmp_path):
    """The error names the port; see the leak check of every test."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wanted = networked()
        taken_run = msgspec.structs.replace(wanted.run, publish=f"tcp://127.0.0.1:{port}")
        with pytest.raises(UsageError, match=str(port)):
            run(msgspec.structs.replace(wanted, run=taken_run), run_dir=tmp_path / "run")
