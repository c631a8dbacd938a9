"""Stores and locks in folders that other users can write."""

from __future__ import annotations

import fcntl
import logging
import os
import threading

import numpy as np
import pytest

from distlsh.data import cache
from distlsh.data.opening import open_dataset
from distlsh.data.store import open_store

TEXT = "2 4 3\n0 1:1.0\n1,2 0:1.0 3:2.0\n"
NEEDS_ROOT = pytest.mark.usefixtures("root")
NOBODY = 65534


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "user_cache_dir", lambda: tmp_path / "own")
    path = tmp_path / "data" / "set.txt"
    path.parent.mkdir()
    path.write_text(TEXT)
    return path


def give(path, user=NOBODY):
    for one in (path, *path.rglob("*")):
        os.chown(one, user, user)


def forged(source):
    """Return another user's store of ``source`` that says something else and is whole by its sums."""
    made = open_dataset(source).path
    other = source.with_name("other.txt")
    other.write_text(TEXT.replace("2.0", "9.0"))
    lie = open_dataset(other).path
    meta = (made / "meta.json").read_text(), (lie / "meta.json").read_text()
    assert meta[0] != meta[1]
    for name in ("values.npy", "meta.json", "verified.json"):
        (made / name).write_bytes((lie / name).read_bytes())
    import json

    from distlsh.data import store

    content = json.loads((lie / "meta.json").read_text())
    content["sources"] = json.loads(meta[0])["sources"]
    content["name"] = "set.txt"
    content.pop("checksum")
    store.write_json(made / "meta.json", {**content, "checksum": store._checksum(content)})
    give(made)
    return made


@NEEDS_ROOT
def test_a_strangers_store_is_believed_only_where_its_place_vouches_for_it(source):
    """Not in a folder that all write, nor in a stranger's; but a folder that others cannot write vouches."""
    made = forged(source)
    folder = made.parent
    assert open_dataset(source).values.max() == 9.0  # the folder is this user's: who wrote there was let
    folder.chmod(0o777)
    assert open_dataset(source).values.max() == 2.0  # parsed anew
    made = forged(source)
    folder.chmod(0o755)
    give(folder)
    found = open_dataset(source)
    assert found.values.max() == 2.0 and found.path.parent == cache.user_cache_dir()  # never written there
    os.chown(source, NOBODY, NOBODY)  # who owns the source may say what is in it
    assert open_dataset(source).values.max() == 9.0


@NEEDS_ROOT
def test_a_strangers_store_is_only_read(source):
    """Nothing is noted in it, and no file of it changes."""
    made = open_dataset(source).path
    (made / "verified.json").unlink()
    give(made)
    before = {path: path.stat().st_mtime_ns for path in (made, *made.iterdir())}
    assert open_dataset(source).path == made
    assert {path: path.stat().st_mtime_ns for path in (made, *made.iterdir())} == before


@pytest.mark.parametrize("what", ["lock", "temporary"])
def test_a_link_that_waits_in_the_folder_is_not_followed(source, tmp_path, what):
    """Locks and temporary folders that somebody made links of lead nowhere; the store is built."""
    victim = tmp_path / "victim"
    folder = source.parent / cache.FOLDER
    folder.mkdir()
    name = cache.store_name(source, folder, "auto", "none")
    planted = f"{name}.lock" if what == "lock" else f".{name}.{os.getpid()}.tmp"
    (folder / planted).symlink_to(victim)
    assert open_dataset(source).n_rows == 2
    assert not victim.exists()


@NEEDS_ROOT
def test_a_lock_that_a_stranger_holds_stops_nobody(source):
    """Without the lock the store is built all the same."""
    folder = source.parent / cache.FOLDER
    folder.mkdir()
    name = cache.store_name(source, folder, "auto", "none")
    lock = folder / f"{name}.lock"
    with lock.open("w") as file:
        os.chown(lock, NOBODY, NOBODY)
        fcntl.flock(file, fcntl.LOCK_EX)
        assert open_dataset(source).n_rows == 2


def test_waiting_for_ones_own_lock_is_said(source, monkeypatch, caplog):
    """Who waits says for what, and goes on when it is free; others cannot open the lock."""
    monkeypatch.setattr(cache, "_NOTICE_S", 0.1)
    folder = source.parent / cache.FOLDER
    folder.mkdir()
    lock = folder / f"{cache.store_name(source, folder, 'auto', 'none')}.lock"
    found = []
    with lock.open("w") as file, caplog.at_level(logging.WARNING):
        lock.chmod(0o666)
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = threading.Thread(target=lambda: found.append(open_dataset(source)))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive() and lock.stat().st_mode & 0o777 == 0o600
    waiting.join()
    assert np.array_equal(found[0].labels, [0, 1, 2])
    assert f"waiting for another process that holds {lock}" in caplog.text


@NEEDS_ROOT
@pytest.mark.usefixtures("in_company")
def test_a_store_that_a_group_writes_is_not_believed(source):
    """Nor one in a folder that a group writes, where it is a stranger's."""
    made = forged(source)
    folder = made.parent
    for path in (made, folder):
        path.chmod(0o775)
        assert not cache.believed(made, source, chosen=False) and not cache.believed(
            made, source, chosen=True
        )
        path.chmod(0o755)
    assert cache.believed(made, source, chosen=False)


def test_the_users_own_folder_of_stores_is_closed_whatever_the_umask(tmp_path, monkeypatch):
    """Compiled kernels lie in the folder above it: what others write there would be run."""
    monkeypatch.setenv("DISTLSH_CACHE", str(tmp_path / "own"))
    before = os.umask(0o002)
    try:
        assert cache.is_writable(cache.user_cache_dir()) and cache.is_writable(tmp_path / "data/x")
    finally:
        os.umask(before)
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o775  # where others may share stores


@pytest.mark.parametrize("name", ["meta.json", "values.npy", "verified.json"])
def test_a_pipe_in_a_store_hangs_nobody(source, name):
    """A store with a pipe in place of a file is no store: it is built again, nobody waits."""
    made = open_dataset(source).path / name
    made.unlink()
    os.mkfifo(made)
    assert open_dataset(source).n_rows == 2
    assert open_dataset(source, cache_dir=source.parent / "other").n_rows == 2


def test_a_strangers_store_is_not_read_before_it_is_believed(source, monkeypatch):
    """Who put it there may be told from outside; to sum up all of it first would cost its size each start."""
    store = open_dataset(source).path
    store.chmod(0o777)
    opened = []
    monkeypatch.setattr(cache, "open_store", lambda path: opened.append(path) or open_store(path))
    open_dataset(source)
    assert store not in opened[:-1]
