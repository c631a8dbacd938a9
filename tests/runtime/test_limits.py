"""What a run needs of the host, known before it starts."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from distlsh.errors import ConfigError, ResourceError
from distlsh.runtime.limits import check_chunks, check_disk, check_tasks
from distlsh.shm.spec import ArraySpec
from tests.small_disk import small_disk

MIB = 1 << 20


def open_files(soft, hard, workers):
    """Ask for ``workers`` in a process with these limits; return its answer."""
    code = (
        "import resource, sys\n"
        "from distlsh.errors import ConfigError, ResourceError\n"
        "from distlsh.runtime.limits import allow_files\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "try:\n"
        f"    back = allow_files({workers})\n"
        "    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], end=' ')\n"
        "    back()\n"
        "    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
        "except ResourceError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    ).stdout


def test_the_limit_of_open_files_is_raised_by_itself_and_put_back():
    """The soft limit is one's own to raise, as far as the hard one."""
    during, after = open_files(64, 4096, 100).split()
    assert int(during) >= 64 + 8 * 100 and after == "64"


def test_too_low_a_hard_limit_of_open_files_is_refused_with_the_command_that_raises_it():
    """Both numbers, the setting to lower, and ulimit."""
    said = open_files(64, 200, 100)
    assert "100 workers needs 8" in said and "may have 200" in said
    assert "run.workers" in said and "ulimit -n 8" in said


def test_enough_open_files_are_left_as_they_are():
    """Nothing is changed where nothing is needed."""
    assert open_files(2048, 4096, 2).split() == ["2048", "2048"]


def test_a_user_who_may_not_start_so_many_processes_is_told(monkeypatch):
    """Against RLIMIT_NPROC, to which root is not held; a few are no matter."""
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    monkeypatch.setattr("distlsh.runtime.limits._tasks_of_user", lambda user: 50)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    check_tasks(2)
    with pytest.raises(
        ResourceError, match=r"starts 71 processes.*100 and has 50.*run\.workers.*ulimit -u 121"
    ):
        check_tasks(10)


def test_chunks_that_no_checkpoint_lists_are_refused():
    """With the size that will do."""
    check_chunks(10**9, 1000)
    with pytest.raises(ConfigError, match=r"train\.chunk_size: 1,000,000,000 .* raise it to 954 or more"):
        check_chunks(10**9, 953)
    check_chunks(10**9, 954)


@pytest.fixture
def specs():
    return [ArraySpec("output.weights", (MIB,), "f4", True), ArraySpec("runtime.order", (1 << 40,), "i8")]


def test_room_for_all_checkpoints_is_no_word_worth(tmp_path, specs):
    """Only what checkpoints hold counts."""
    assert check_disk(tmp_path / "run", specs, keep=2) is None


def test_room_for_fewer_checkpoints_than_kept_is_a_warning(tmp_path, specs):
    """It names the bytes and the setting; for fewer kept there is room."""
    with small_disk(tmp_path / "disk", 20 * MIB) as disk:
        said = check_disk(disk / "run", specs, keep=2)
        assert said is not None and "8.0 MiB" in said and "lower checkpoint.keep" in said
        assert check_disk(disk / "run", specs, keep=1) is None


def test_room_for_none_is_an_error(tmp_path, specs):
    """With what else could be done; what a run has saved already does not help the next one in."""
    with (
        small_disk(tmp_path / "disk", 6 * MIB) as disk,
        pytest.raises(ResourceError, match="not enough for one"),
    ):
        check_disk(disk / "run", specs, keep=1)


def test_what_a_killed_save_left_is_room_for_a_resume(tmp_path, specs):
    """The next save removes it first; where there is too little all the same, nothing is advised in vain."""
    with small_disk(tmp_path / "disk", 12 * MIB) as disk:
        left = disk / "run" / "checkpoints" / ".tmp-samples-000000001000"
        left.mkdir(parents=True)
        (left / "x.npy").write_bytes(bytes(8 * MIB))
        assert check_disk(disk / "run", specs, keep=1, resumed=True) is not None  # for one more than fits
        with pytest.raises(ResourceError, match="move the run's directory") as caught:
            check_disk(disk / "run", specs, keep=1, more_bytes=8 * MIB, resumed=True)
        assert "model.hidden" not in str(caught.value)


def test_saved_checkpoints_count_as_room_for_a_resume(tmp_path, specs):
    """They make place for those to come."""
    with small_disk(tmp_path / "disk", 36 * MIB) as disk:
        for name in ("a", "b"):
            folder = disk / "run" / "checkpoints" / name
            folder.mkdir(parents=True)
            (folder / "x.npy").write_bytes(bytes(8 * MIB))
        assert check_disk(disk / "run", specs, keep=2) is None
        assert check_disk(disk / "other", specs, keep=2) is not None
