"""``distlsh keygen`` and ``distlsh watch``, from the command line."""

from __future__ import annotations

import shutil
import threading
import time

import pytest
import zmq

from distlsh.cli.main import main
from distlsh.protocol.reports import Notice
from distlsh.transport.control import address
from distlsh.transport.curve import admit_all
from distlsh.transport.keys import read_pair
from distlsh.transport.metrics import MetricsHub


def test_keygen_makes_a_servers_keys_and_says_what_next(tmp_path, capsys):
    """The pair is there, usable, and the text names the settings; a second time it refuses."""
    assert main(["keygen", str(tmp_path / "keys")]) == 0
    out = capsys.readouterr().out
    assert "run.publish" in out and f"run.keys={tmp_path / 'keys'}" in out and "clients" in out
    assert read_pair(tmp_path / "keys", "server").secret.decode() not in out
    assert main(["keygen", str(tmp_path / "keys")]) == 2
    assert "is there already" in capsys.readouterr().err


def test_keygen_where_it_cannot_write_is_wrong_usage(tmp_path, capsys):
    """Exit 2, not a mistake of the program."""
    (tmp_path / "keys").write_text("")
    assert main(["keygen", str(tmp_path / "keys")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_keygen_tells_a_watcher_whom_to_give_the_key(tmp_path, capsys):
    """Other names than server are watchers'."""
    assert main(["keygen", str(tmp_path), "--name", "alice"]) == 0
    assert "alice.key" in (out := capsys.readouterr().out) and "distlsh watch tcp://" in out


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("tcp://127.0.0.1:5555", "distlsh keygen"),
        ("tcp://127.0.0.1", "tcp://HOST:PORT"),
        ("tcp://*:5555", "own host and port"),
        ("tcp://127.0.0.1:0", "own host and port"),
        ("tcp://127.0.0.1:*", "own host and port"),
        ("somewhere", "not a run directory"),
    ],
)
def test_watch_says_what_is_missing(where, says, capsys):
    """tcp without keys, half an address, a folder that is no run: exit 2 with what to do."""
    assert main(["watch", where]) == 2
    assert says in capsys.readouterr().err


def test_watch_with_a_folder_without_keys_says_how_to_make_them(tmp_path, capsys):
    """Neither own pair nor server key."""
    assert main(["watch", "tcp://127.0.0.1:5", "--keys", str(tmp_path)]) == 2
    assert "--name me" in capsys.readouterr().err
    main(["keygen", str(tmp_path), "--name", "me"])
    assert main(["watch", "tcp://127.0.0.1:5", "--keys", str(tmp_path)]) == 2
    assert "server.key" in capsys.readouterr().err


def test_watch_prints_what_a_run_says_until_it_falls_silent(tmp_path, capsys):
    """Notices come as lines; exit 0."""
    context = zmq.Context()
    where = address(tmp_path, "pub")
    hub = MetricsHub(context, address(tmp_path, "pull"), {where: admit_all})
    codes = []
    watching = threading.Thread(target=lambda: codes.append(main(["watch", where, "--timeout", "1"])))
    watching.start()
    for _ in range(40):
        hub.publish(Notice(level="warning", text="look here"))
        time.sleep(0.02)
    watching.join()
    hub.close()
    context.term()
    assert codes == [0] and "warning: look here" in capsys.readouterr().out


def test_watch_of_a_run_that_does_not_know_the_key_says_so(tmp_path, capsys):
    """Silence is told with its likely reasons: exit 2."""
    main(["keygen", str(tmp_path), "--name", "me"])
    shutil.copy(tmp_path / "me.key", tmp_path / "server.key")
    assert main(["watch", "tcp://127.0.0.1:9", "--keys", str(tmp_path), "--timeout", "0.3"]) == 2
    assert "does not know your key" in capsys.readouterr().err
