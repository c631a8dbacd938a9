"""``distlsh doctor --clean``: what dead runs left goes, what lives stays."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time

import psutil
import pytest

from distlsh.cli.main import main
from distlsh.data.cache import FOLDER
from distlsh.errors import UsageError
from distlsh.folders import locked
from distlsh.model.checkpoint import lock_of
from distlsh.runtime import leftovers
from distlsh.runtime.launch import run
from distlsh.runtime.leftovers import find_leftovers
from distlsh.runtime.run_dir import RunDir
from distlsh.shm.names import SEGMENT_DIR, make_socket_dir, new_run_id, remove, socket_root
from tests.integration.conftest import cache, config
from tests.integration.watching import Watcher

__all__ = ["cache", "config"]

NEEDS_ROOT = pytest.mark.usefixtures("root")
NO_PID = (1 << 22) + 1
HEX = "00ff00ff"
ENDS = ("tmp", "old")
LONG_AGO = time.time() - 86_400
DIES = (
    "from distlsh.shm.arena import Arena; from distlsh.shm.names import *;"
    "from distlsh.shm.spec import ArraySpec; import os; n = new_run_id();"
    "Arena.create(n, [ArraySpec('a', (3,), 'f4')]); make_socket_dir(n);"
    "print(n, flush=True); os._exit(9)"
)


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A user's own folders for sockets and parsed data, with nothing in them."""
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(leftovers, "user_cache_dir", lambda: tmp_path / "cache")
    with tempfile.TemporaryDirectory(prefix="d-") as sockets:  # paths of sockets are short
        monkeypatch.setenv("XDG_RUNTIME_DIR", sockets)
        yield tmp_path


def die():
    """Let a run be killed with all its processes; return its id."""
    name = subprocess.run([sys.executable, "-c", DIES], capture_output=True, text=True).stdout.strip()
    assert (SEGMENT_DIR / name).exists() and (socket_root() / name).is_dir()
    return name


@pytest.fixture
def dead_run(alone):
    """The id of a run that was killed with all its processes."""
    name = die()
    yield name
    remove(SEGMENT_DIR / name)


def found(*folders):
    return {left.path for left in find_leftovers(folders)}


def make(path, age_s=86_400.0, n_bytes=10_000):
    """Make an unfinished folder that was changed some time ago."""
    path.mkdir(parents=True)
    (path / "a.npy").write_bytes(bytes(n_bytes))
    for one in (path / "a.npy", path):
        os.utime(one, (time.time() - age_s,) * 2)
    return path


def make_run(path):
    """Make a run directory whose run was killed while it saved."""
    run_dir = RunDir.create(path, "x")
    run_dir.config.write_text("{}\n")
    return run_dir, make(run_dir.checkpoints / ".tmp-samples-000000000007")


def test_doctor_lists_and_clean_removes(dead_run, alone, capsys):
    """The list has sizes and reasons and removes nothing; --clean removes, --sweep is another name of it."""
    run_dir, unfinished = make_run(alone / "killed")
    assert main(["doctor", str(run_dir.path)]) == 0
    out = capsys.readouterr().out
    for path, why in ((SEGMENT_DIR / dead_run, "shared memory"), (unfinished, "never finished")):
        line = next(line for line in out.splitlines() if str(path) in line)
        assert why in line and "KiB" in line and path.exists()
    assert f"distlsh doctor --clean {run_dir.path}" in out
    assert main(["doctor", "--sweep"]) == 0
    assert not (SEGMENT_DIR / dead_run).exists() and not (socket_root() / dead_run).exists()
    assert f"removed {SEGMENT_DIR / dead_run}" in capsys.readouterr().out and unfinished.exists()
    assert main(["doctor", "--clean", str(run_dir.path)]) == 0
    assert not unfinished.exists() and f"removed {unfinished}" in capsys.readouterr().out
    assert main(["doctor", "--clean", str(run_dir.path)]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_a_live_run_beside_the_dead_is_not_touched(alone, config):
    """Cleaning in the middle of a training takes the dead run's things and none of the living one's."""
    _, unfinished = make_run(alone / "runs/killed")
    kept, gone = [], [unfinished]

    def clean(watcher):
        dead = die()
        gone.extend((SEGMENT_DIR / dead, socket_root() / dead))
        kept.append(make(watcher.run_dir / "checkpoints/.tmp-live"))
        kept.extend(SEGMENT_DIR.glob(f"distlsh-{os.getpid()}-*"))
        kept.extend(socket_root().glob(f"distlsh-{os.getpid()}-*/*"))
        kept.append(watcher.run_dir / ".published")
        assert main(["doctor", "--clean", str(alone / "runs")]) == 0
        assert all(path.exists() for path in kept) and not any(path.exists() for path in gone)

    watcher = Watcher(1000, clean)
    summary = run(config(), observer=watcher, run_dir=alone / "runs/live")
    assert watcher.at is None and len(kept) >= 6
    assert summary.status == "completed" and summary.worker_restarts == 0 and summary.samples == 12_000


def test_a_name_with_the_pid_of_another_process_is_a_leftover(alone):
    """The start time in the name tells a pid that is used again."""
    stale = socket_root() / f"distlsh-{os.getpid()}-1-0123abcd"
    stale.mkdir()
    mine = make_socket_dir(new_run_id())
    foreign = socket_root() / "distlsh-notes"
    foreign.mkdir()
    assert found() & set(socket_root().iterdir()) == {stale}
    assert mine.exists() and foreign.exists()
    remove(mine)


@NEEDS_ROOT
def test_what_others_left_is_theirs(alone):
    """Another user's segment, sockets, checkpoint and parsed data are not even listed."""
    segment = SEGMENT_DIR / f"distlsh-{NO_PID}-1-0123abcd"
    segment.write_bytes(bytes(8))
    _, unfinished = make_run(alone / "killed")
    theirs = [segment, unfinished, make(alone / f"cache/.x.{NO_PID}-{HEX}.tmp")]
    (socket_root() / segment.name).mkdir()
    theirs.append(socket_root() / segment.name)
    try:
        assert found(alone / "killed") >= set(theirs)
        for path in theirs:
            os.chown(path, 65534, 65534)
        assert not found(alone / "killed") & set(theirs)
    finally:
        segment.unlink()


def test_an_unfinished_checkpoint_of_a_run_that_lives_stays(alone):
    """While the run or a writer holds its lock; one that comes to life after the listing keeps its own."""
    run_dir, unfinished = make_run(alone / "killed")
    hold = (
        "import sys, fcntl, os; f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600);"
        "fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    )
    for lock in (run_dir.path / ".lock", lock_of(run_dir.checkpoints)):
        (left,) = find_leftovers([run_dir.path])
        command = [sys.executable, "-c", hold, str(lock)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout.readline() == "held\n"
            assert found(run_dir.path) == set()
            assert left.remove() is False and unfinished.exists()
            holder.communicate("\n")
    assert left.remove() is True and not unfinished.exists()


def test_unfinished_data_goes_unless_its_writer_may_live(alone):
    """A dead pid and quiet: gone.  A living pid, a held lock, a change a moment ago: kept."""
    data = alone / "cache"
    gone = [make(data / f".{name}.{NO_PID}-{HEX}.{end}") for name in ("set-0123", "a.txt") for end in ENDS]
    kept = [
        make(data / f".set-0123.{os.getpid()}-{HEX}.tmp"),
        make(data / f".new.{NO_PID}-{HEX}.tmp", age_s=5),
    ]
    kept += [make(data / f".held.{NO_PID}-{HEX}.tmp"), make(data / "set-0123")]
    with locked(data / "held.lock") as held:
        assert held and found() == set(gone)
        assert main(["doctor", "--clean"]) == 0
    assert not any(path.exists() for path in gone) and all(path.exists() for path in kept)


@pytest.mark.parametrize(
    "name",
    [
        ".hidden",
        ".bashrc.1",
        ".config.99999999",
        ".backup.20240101",
        ".git.20240101.old",
        ".x.20240101.tmp",
        f".notes.{NO_PID}",
        f".notes.{NO_PID}-{HEX}",
        f".notes.tmp-{NO_PID}",
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_hidden_files_and_folders_of_people_stay(alone, name, whole):
    """Numbers at the end of a name, or endings like .old, make no leftover of it."""
    mine = alone / "data" / name
    if whole:
        make(mine)
    else:
        mine.parent.mkdir()
        mine.write_text("mine")
        os.utime(mine, (LONG_AGO, LONG_AGO))
    assert found(alone / "data") == set()
    assert main(["doctor", "--clean", str(alone / "data")]) == 0 and mine.exists()


def test_downloads_that_were_cut_off_go_where_they_are_named(alone):
    """Only in a folder that is given, with their notes, and not while one is written."""
    folder = alone / "data"
    folder.mkdir()
    part, notes, other = folder / "x.gz.part", folder / "x.gz.part.json", folder / "mine.part"
    for path in (part, notes, other):
        path.write_text("{}")
        os.utime(path, (LONG_AGO, LONG_AGO))
    assert found() == set() and found(folder) == {part, notes}
    with part.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert found(folder) == set()
    assert main(["doctor", "--clean", str(folder)]) == 0
    assert [path.name for path in folder.iterdir()] == ["mine.part"]


def test_parsed_data_beside_a_file_is_looked_into(alone):
    """The folder of stores in a data folder is part of it."""
    left = make(alone / "data" / FOLDER / f".set-0123.{NO_PID}-{HEX}.tmp")
    assert found(alone / "data") == {left}


def test_a_link_in_a_leftovers_place_is_removed_and_not_followed(alone):
    """What it leads to stays."""
    victim = make(alone / "victim")
    link = alone / f"cache/.set.{NO_PID}-{HEX}.tmp"
    link.symlink_to(victim)
    os.utime(link, (LONG_AGO, LONG_AGO), follow_symlinks=False)
    assert main(["doctor", "--clean"]) == 0
    assert not link.is_symlink() and (victim / "a.npy").exists()


def test_a_folder_that_is_not_there_is_wrong_usage(alone):
    """Exit 2 names it."""
    with pytest.raises(UsageError, match="no such folder"):
        found(alone / "nowhere")
    assert main(["doctor", "--clean", str(alone / "nowhere")]) == 2


def test_locks_of_this_process_are_closed_again(alone):
    """Looking at many folders leaves no descriptor open."""
    for i in range(20):
        make_run(alone / f"runs/{i}")
    before = psutil.Process().num_fds()
    assert len(found(alone / "runs")) == 20
    assert psutil.Process().num_fds() == before
