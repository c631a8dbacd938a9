"""The arena of named arrays, and the sweep of what dead runs left."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from distlsh.errors import ResourceError, UsageError
from distlsh.shm.arena import Arena
from distlsh.shm.names import (
    SEGMENT_DIR,
    make_socket_dir,
    new_run_id,
    owner_alive,
    remove,
    segment_of,
    segments_of,
    sweep,
)
from distlsh.shm.procstat import process_stat
from distlsh.shm.spec import ArraySpec

SPECS = [
    ArraySpec("a", (3, 5), "f4", persistent=True),
    ArraySpec("b", (7,), "i8"),
    ArraySpec("c", (1,), "u1", persistent=True),
]


@pytest.fixture
def arena():
    made = Arena.create(new_run_id(), SPECS)
    yield made
    made.unlink()
    made.close()


def test_arrays_are_zeroed_aligned_and_of_their_shape(arena):
    """Each array starts a cache line and is zero at first."""
    for spec in SPECS:
        array = arena[spec.name]
        assert array.shape == spec.shape and array.dtype == np.dtype(spec.dtype)
        assert array.ctypes.data % 64 == 0
        assert not array.any()


def test_another_process_sees_and_changes_the_same_memory(arena):
    """A child that attaches by name writes what the creator reads; its exit unlinks nothing."""
    code = (
        "import sys; from distlsh.shm.arena import Arena; from distlsh.shm.spec import ArraySpec;"
        "a = Arena.attach(sys.argv[1], [ArraySpec('a', (3, 5), 'f4'), ArraySpec('b', (7,), 'i8'),"
        " ArraySpec('c', (1,), 'u1')]); a['b'][2] = 41"
    )
    subprocess.run([sys.executable, "-c", code, arena.name], check=True)
    assert arena["b"][2] == 41
    assert arena.path.exists()


def test_segments_are_open_to_their_owner_alone(arena):
    """The segment has mode 0600 and a name with the run id."""
    assert os.stat(arena.path).st_mode & 0o777 == 0o600
    assert owner_alive(arena.name) is True


def test_unlink_removes_the_name(arena):
    """After unlink the segment is gone from /dev/shm, and unlinking again is no error."""
    arena.unlink()
    arena.unlink()
    arena["a"][0, 0] = 1.0  # still mapped
    assert not arena.path.exists()


def test_only_persistent_arrays_are_saved(arena):
    """persistent() returns the arrays of checkpoints."""
    assert list(arena.persistent()) == ["a", "c"]


def test_an_arena_that_is_not_waited_for_is_whole_afterwards():
    """After `reserved`, of some arrays or of all and however often, every page is there and zero."""
    arena = Arena.create(new_run_id(), SPECS, wait=False)
    try:
        arena.reserved(lambda name: name == "c")
        assert not arena["c"].any()
        arena.reserved()
        arena.reserved()
        assert os.stat(arena.path).st_blocks * 512 >= arena.n_bytes
        assert not arena["a"].any()
    finally:
        arena.unlink()
        arena.close()


def test_a_name_twice_is_refused():
    """Two arrays of one name raise UsageError that names them."""
    with pytest.raises(UsageError, match="twice: a"):
        Arena.create(new_run_id(), [SPECS[0], SPECS[0]])


def test_too_large_an_arena_is_refused_and_leaves_nothing():
    """Where /dev/shm has no room, ResourceError says which settings to lower."""
    name = new_run_id()
    with pytest.raises(ResourceError, match=r"lower model\.hidden"):
        Arena.create(name, [ArraySpec("x", (1 << 50,), "u1")])
    assert not (SEGMENT_DIR / name).exists()


def test_attaching_with_other_specs_is_refused(arena):
    """A segment of another size than the specs need is not mapped."""
    with pytest.raises(UsageError, match="size"):
        Arena.attach(arena.name, [ArraySpec("a", (1 << 20,), "f4")])


def test_sweep_removes_what_dead_runs_left_and_nothing_else(arena, tmp_path, monkeypatch):
    """Leftovers of an ended process go; those of a live one and foreign names stay."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    code = (
        "from distlsh.shm.arena import Arena; from distlsh.shm.names import *;"
        "from distlsh.shm.spec import ArraySpec; import os; n = new_run_id();"
        "Arena.create(n, [ArraySpec('a', (3,), 'f4')]); make_socket_dir(n);"
        "Arena.create(segment_of(n, 2), [ArraySpec('a', (3,), 'f4')]); print(n, flush=True); os._exit(9)"
    )
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
    foreign = tmp_path / "distlsh-notes"
    foreign.touch()
    mine = make_socket_dir(arena.name)
    assert (SEGMENT_DIR / dead).exists() and (tmp_path / dead).is_dir()
    assert len(segments_of(dead)) == 2 and all(path.exists() for path in segments_of(dead))
    assert str(SEGMENT_DIR / dead) in sweep()
    assert not (SEGMENT_DIR / dead).exists() and not (tmp_path / dead).exists()
    assert not list(SEGMENT_DIR.glob(f"{dead}*"))
    assert arena.path.exists() and mine.is_dir() and foreign.exists()
    remove(mine)


def test_socket_folders_are_open_to_their_owner_alone(tmp_path, monkeypatch):
    """The socket folder has mode 0700."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    made = make_socket_dir(new_run_id())
    assert made.stat().st_mode & 0o777 == 0o700
    remove(made)


def test_a_socket_folder_is_its_owners_alone_under_any_umask(tmp_path, monkeypatch):
    """Umasks that give all or take all leave the folder at 0700."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for umask in (0, 0o777):
        before = os.umask(umask)
        try:
            made = make_socket_dir(new_run_id())
        finally:
            os.umask(before)
        assert made.stat().st_mode & 0o777 == 0o700
        remove(made)


def test_a_folder_where_all_may_rename_is_no_place_for_sockets(tmp_path, monkeypatch):
    """A folder that everyone can write, without the sticky bit, is refused with what to do."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o777)
    with pytest.raises(UsageError, match=r"chmod \+t"):
        make_socket_dir(new_run_id())
    tmp_path.chmod(0o1777)
    made = make_socket_dir(new_run_id())
    assert made.is_dir()
    remove(made)


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_a_socket_folder_that_is_there_already_is_not_used(tmp_path, monkeypatch, kind):
    """A name that someone took, by a folder, a file or a link, is refused, and left as it is."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    name, elsewhere = new_run_id(), tmp_path / "elsewhere"
    elsewhere.mkdir()
    taken = tmp_path / name
    {"folder": taken.mkdir, "file": taken.touch, "link": lambda: taken.symlink_to(elsewhere)}[kind]()
    with pytest.raises(ResourceError, match="XDG_RUNTIME_DIR"):
        make_socket_dir(name)
    assert taken.exists() and not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "distlsh-1-2-00000000/../x", "x", "", f"{new_run_id()}\n"]
)
def test_only_names_that_runs_give_are_segments(name):
    """A name that could lead out of /dev/shm, or to another's file there, is refused."""
    for use in (Arena.create, Arena.attach):
        with pytest.raises(UsageError, match="no name of a segment"):
            use(name, SPECS)


def test_a_link_in_a_segments_place_is_not_followed(tmp_path):
    """Attaching to a symbolic link fails as if there were nothing."""
    target = tmp_path / "file"
    target.write_bytes(bytes(4096))
    link = SEGMENT_DIR / new_run_id()
    link.symlink_to(target)
    try:
        with pytest.raises(FileNotFoundError):
            Arena.attach(link.name, [ArraySpec("a", (3,), "f4")])
    finally:
        link.unlink()


@pytest.mark.parametrize(
    ("make", "root"),
    [
        ("Arena.create(name, [ArraySpec('a', (3,), 'f4')])", SEGMENT_DIR),
        ("make_socket_dir(name)", None),
    ],
    ids=["segment", "sockets"],
)
def test_what_is_held_is_never_swept(tmp_path, monkeypatch, make, root):
    """Where its owner's pid means nothing, as in another container, a lock says that it lives."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    name = f"distlsh-{(1 << 22) + 1}-1-0123abcd"  # no such pid here
    path = str((root or tmp_path) / name)
    code = (
        "import sys; from distlsh.shm.arena import Arena; from distlsh.shm.spec import ArraySpec;"
        "from distlsh.shm.names import make_socket_dir; name = sys.argv[1];"
        f"it = {make}; print('made', flush=True); input()"
    )
    command = [sys.executable, "-c", code, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "made\n"
        assert owner_alive(name) is True and path not in sweep()
        process.kill()
        process.wait()
        assert owner_alive(name) is False and path in sweep()


def test_an_owner_that_nobody_has_waited_for_is_dead():
    """A run whose parent does not reap it leaves a zombie: what it left is swept all the same."""
    code = (
        "from distlsh.shm.arena import Arena; from distlsh.shm.names import new_run_id;"
        "from distlsh.shm.spec import ArraySpec; name = new_run_id();"
        "it = Arena.create(name, [ArraySpec('a', (3,), 'f4')]); print(name, flush=True); input()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        name = process.stdout.readline().strip()
        assert owner_alive(name) is True
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process_stat(process.pid).state == "Z"
        assert owner_alive(name) is False and str(SEGMENT_DIR / name) in sweep()


def test_a_tables_segment_has_a_name_that_nobody_can_foresee():
    """Two of one number differ, and belong to the run."""
    run_id = new_run_id()
    names = {segment_of(run_id, 1), segment_of(run_id, 1)}
    assert len(names) == 2 and all(owner_alive(name) for name in names)
