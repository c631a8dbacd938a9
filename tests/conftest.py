"""After every test: no process, no descriptor, no shared-memory segment more than before."""

from __future__ import annotations

import gc
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.needs import needs

# Under nohup it is ignored, and runs would rightly ignore it too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _leftovers() -> dict[str, set[str]]:
    from distlsh.shm.names import SEGMENT_DIR, socket_root

    me = psutil.Process()
    return {
        "segments": _of_this_session(SEGMENT_DIR),
        "socket folders": _of_this_session(socket_root()),
        "processes": {f"{p.pid}" for p in me.children(recursive=True)},
        "descriptors": {f"{fd} -> {_target(fd)}" for fd in os.listdir("/proc/self/fd")},
    }


def _of_this_session(folder: Path) -> set[str]:
    from distlsh.shm.names import owner_alive

    # Another live run on this machine may come and go while a test runs.
    mine = f"distlsh-{os.getpid()}-"
    paths = folder.glob("distlsh-*")
    return {str(p) for p in paths if p.name.startswith(mine) or owner_alive(p.name) is False}


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return "gone"


def _more(before: dict[str, set[str]], after: dict[str, set[str]]) -> dict[str, set[str]]:
    found = {kind: after[kind] - before[kind] for kind in ("segments", "socket folders", "processes")}
    grown = len(after["descriptors"]) - len(before["descriptors"])
    if grown > 0:
        found["descriptors"] = {d for d in after["descriptors"] - before["descriptors"] if "gone" not in d}
    return {kind: names for kind, names in found.items() if names}


@pytest.fixture(autouse=True)
def leaves_nothing_behind(request: pytest.FixtureRequest):
    """Fail a test that leaves segments, socket folders, processes or descriptors."""
    before = _leftovers()
    yield
    deadline = time.monotonic() + 3.0
    while found := _more(before, _leftovers()):
        if time.monotonic() > deadline:
            pytest.fail(f"{request.node.nodeid} leaves behind {found}")
        gc.collect()
        time.sleep(0.05)


@pytest.fixture
def root() -> None:
    """Let the test be one that root alone can do: it becomes another user, or gives files to one."""
    needs(os.geteuid() == 0, "root: sudo pytest ...")


@pytest.fixture
def in_company(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no group count as this user's private one, which files of tests may well belong to."""
    monkeypatch.setattr("distlsh.folders._is_own_group", lambda gid: False)
