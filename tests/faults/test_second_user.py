"""A second user of the host, a real one: it reads nothing of a run and stops nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from watching import Watcher

from distlsh.runtime.launch import run
from distlsh.shm.names import SEGMENT_DIR, owner_alive, socket_root, sweep
from distlsh.transport.keys import write_pair

pytestmark = pytest.mark.usefixtures("root")
SCRIPT = Path(__file__).with_name("other_user.py")
LISTS = (
    "socket_names", "segments", "secrets", "folders", "locks", "pids",
    "plant_folders", "plant_links", "plant_files",
)  # fmt: skip
DEAD = f"distlsh-{(1 << 22) + 1}-1"  # no such pid


def attack(goal):
    """Let the second user try; return what it came to."""
    empty: dict[str, list[str]] = {name: [] for name in LISTS}
    command = [sys.executable, str(SCRIPT), json.dumps({**empty, **goal}, default=str)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Attacked(Watcher):
    """Lets the second user loose on a run that trains."""

    def __init__(self, victim, keys):
        super().__init__(8000, self.loose)  # after a checkpoint
        self.victim, self.keys = victim, keys
        self.came_to, self.planted, self.named = {}, [], []

    def written(self):
        """Return what the run has written: its settings, figures, log and a checkpoint."""
        (manifest, *_) = self.run_dir.glob("checkpoints/[!.]*/manifest.json")
        names = ("config.yaml", "metrics.jsonl", "logs/worker-0.log")
        return [manifest, manifest.with_name("output.weights.npy"), *(self.run_dir / name for name in names)]

    def loose(self, _):
        folders = {
            path for path in socket_root().glob(f"distlsh-{os.getpid()}-*") if (path / "control").exists()
        }
        (folder,) = folders
        children = psutil.Process().children(recursive=True)
        self.named = sorted(child.name() for child in children)
        links = [SEGMENT_DIR / f"{DEAD}-aaaaaaaa", socket_root() / f"{DEAD}-bbbbbbbb"]
        planted = [socket_root() / f"{DEAD}-cccccccc"]
        files = [SEGMENT_DIR / f"{DEAD}-dddddddd", SEGMENT_DIR / f"{folder.name}-tables-1-00000000"]
        self.planted = [*links, *planted, *files]
        self.came_to = attack(
            {
                "sockets": folder,
                "socket_names": [path.name for path in folder.iterdir()],
                "segments": list(SEGMENT_DIR.glob(f"distlsh-{os.getpid()}-*")),
                "secrets": [self.keys / "server.key_secret", self.run_dir / ".published", *self.written()],
                "folders": [self.run_dir, self.run_dir / "checkpoints", self.run_dir / "logs", self.keys],
                "locks": [self.run_dir / ".lock", self.run_dir / ".checkpoints.lock"],
                "pids": [os.getpid(), *(child.pid for child in children)],
                "victim": self.victim,
                "plant_links": links,
                "plant_folders": planted,
                "plant_files": files,
            }
        )


@pytest.fixture
def victim(tmp_path):
    """Something of the first user's that a sweep must not be led to."""
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "file").write_text("precious")
    return folder


@pytest.fixture
def open_to_all(tmp_path):
    """Let other users look into this test's folder: the modes of what is inside must keep them out."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and str(folder).startswith("/tmp/"):
            before = folder.stat().st_mode & 0o7777
            folder.chmod(before | 0o055)
    yield
    tmp_path.chmod(0o700)
    tmp_path.parent.chmod(0o700)


@pytest.mark.parametrize(
    "umask", [pytest.param(0o022, id="usual", marks=pytest.mark.slow), pytest.param(0, id="careless")]
)
def test_a_second_user_can_do_nothing_to_a_run(config, tmp_path, victim, open_to_all, umask):
    """Sockets, segments, keys, processes, their memory: all refused; what it plants is not followed."""
    write_pair(tmp_path / "keys", "server")
    keyed = config(
        train={"epochs": 3},
        checkpoint={"interval": 1000},
        run={"publish": "tcp://127.0.0.1:0", "keys": str(tmp_path / "keys")},
    )
    watcher = Attacked(victim, tmp_path / "keys")
    before = os.umask(umask)
    try:
        summary = run(keyed, observer=watcher, run_dir=tmp_path / "run")
        swept = sweep()
        assert all(path.is_symlink() or path.exists() for path in watcher.planted)  # left to their owner
    finally:
        os.umask(before)
        for path in watcher.planted:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    done = {
        what: why
        for what, why in watcher.came_to.items()
        if why not in ("PermissionError", "ProcessLookupError")
    }
    assert len(watcher.came_to) > 60 and done == {}
    assert {"worker-0", "worker-1", "rehasher", "forkserver"} <= set(watcher.named)
    assert summary.status == "completed" and summary.worker_restarts == 0
    assert summary.samples == 18_000 and summary.p_at_1 > 0.4
    assert (victim / "file").read_text() == "precious" and not set(swept) & set(map(str, watcher.planted))
    assert owner_alive(watcher.planted[0].name) is False


def test_the_second_user_would_succeed_where_modes_let_it(tmp_path, open_to_all):
    """The attempts are real: on files and processes that are open to it, they are done."""
    folder = tmp_path / "sockets"
    folder.mkdir()
    folder.chmod(0o777)
    segment = tmp_path / "segment"
    segment.write_bytes(bytes(8192))
    segment.chmod(0o666)
    came_to = attack({"sockets": folder, "segments": [segment], "secrets": [segment], "folders": [folder]})
    for what in (
        f"read {segment}",
        f"write {segment}",
        f"cut {segment}",
        f"lock {segment}",
        "add to the sockets",
    ):
        assert came_to[what] is None, what
