"""Checkpoint files: what is written is read, and damage is found and passed over."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distlsh.errors import CheckpointError, ResourceError
from distlsh.model import array_files, checkpoint, manifest
from distlsh.model.checkpoint import latest_checkpoint, read_checkpoint, write_checkpoint

ARRAYS = {
    "output.weights": np.arange(12, dtype=np.float32).reshape(3, 4),
    "output.clock": np.array([1, 2, 3], np.int64),
    "output.dirty": np.zeros(3, np.uint8),
}
STATE = {"samples": 7, "seed": 2**63 + 5, "model": {"hidden": [4]}, "lsh": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def numbered(number: int) -> dict[str, np.ndarray]:
    return {"x": np.full(5, number, np.int32)}


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("verify", [False, True])
def test_what_is_written_is_read(folder: Path, mmap: bool, verify: bool) -> None:
    """Arrays, dtypes, shapes and state come back; a map cannot be written to."""
    path = write_checkpoint(folder, "s7", ARRAYS, STATE, keep=2)
    arrays, state = read_checkpoint(path, verify=verify, mmap=mmap)
    assert path == folder / "s7"
    assert state == STATE
    assert arrays.keys() == ARRAYS.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert array.dtype == ARRAYS[name].dtype
        assert array.flags.writeable is not mmap


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=hnp.arrays(
        st.sampled_from([np.float32, np.int32, np.int64, np.uint8, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    ),
    block=st.integers(1, 64),
    order=st.sampled_from("CF"),
)
def test_any_array_survives_any_block_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, array: np.ndarray, block: int, order: str
) -> None:
    """Shapes with zeros, no dimensions or another order, in blocks of any size, and NaNs."""
    monkeypatch.setattr(array_files, "_BLOCK_BYTES", block)
    path = write_checkpoint(tmp_path / "c", "a", {"x": np.asarray(array, order=order)}, {}, keep=1)
    read = read_checkpoint(path)[0]["x"]
    assert read.shape == array.shape
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)
    np.testing.assert_array_equal(np.load(path / "x.npy", mmap_mode="r"), array)


def test_state_may_hold_numpy_values(folder: Path) -> None:
    """NumPy numbers and arrays become JSON numbers and lists."""
    state = {"a": np.int64(3), "b": np.float32(0.5), "c": np.arange(2)}
    assert read_checkpoint(write_checkpoint(folder, "a", {}, state, 1))[1] == {"a": 3, "b": 0.5, "c": [0, 1]}


def test_state_that_is_no_json_leaves_nothing(folder: Path) -> None:
    """An object in the state is refused, and nothing is left behind."""
    with pytest.raises(CheckpointError, match="set"):
        write_checkpoint(folder, "a", ARRAYS, {"a": {1}}, 1)
    assert names(folder) == []


@pytest.mark.parametrize("name", ["", "../a", ".a", "a/b"])
def test_names_that_are_no_files_are_refused(folder: Path, name: str) -> None:
    """Neither a checkpoint nor an array can be named out of its folder."""
    with pytest.raises(CheckpointError, match="name"):
        write_checkpoint(folder, name, ARRAYS, {}, 1)
    with pytest.raises(CheckpointError, match="name"):
        write_checkpoint(folder, "a", {name: np.zeros(1)}, {}, 1)


def test_only_the_newest_are_kept(folder: Path) -> None:
    """The order is that of writing, not of names."""
    for number, name in enumerate(["c", "a", "b"]):
        write_checkpoint(folder, name, numbered(number), {}, keep=2)
    assert names(folder) == ["a", "b"]
    assert latest_checkpoint(folder.parent).path == folder / "b"


def test_a_taken_name_gets_a_number(folder: Path) -> None:
    """Writing the same position twice loses neither."""
    write_checkpoint(folder, "a", numbered(0), {}, keep=3)
    path = write_checkpoint(folder, "a", numbered(1), {}, keep=3)
    assert path.name == "a-2"
    assert latest_checkpoint(folder).path == path


def test_foreign_folders_are_left_alone(folder: Path) -> None:
    """A folder that is no checkpoint is neither pruned nor complained of."""
    (folder / "notes").mkdir(parents=True)
    for number in range(3):
        write_checkpoint(folder, f"s{number}", numbered(number), {}, keep=1)
    assert names(folder) == ["notes", "s2"]
    assert latest_checkpoint(folder) == (folder / "s2", [], [])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def flip_header(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)


DAMAGES = {"cut": cut, "flip": flip, "flip_header": flip_header, "removed": Path.unlink}


@pytest.mark.parametrize("file", [*(f"{name}.npy" for name in ARRAYS), checkpoint.MANIFEST])
@pytest.mark.parametrize("damage", ["cut", "flip", "flip_header", "removed", "emptied"])
def test_damage_is_named_and_the_one_before_is_used(folder: Path, file: str, damage: str) -> None:
    """Whatever file is damaged in whatever way: the error names it, and the fallback is whole."""
    good = write_checkpoint(folder, "s1", ARRAYS, STATE, keep=2)
    bad = write_checkpoint(folder, "s2", ARRAYS, STATE, keep=2)
    if damage == "emptied":
        (bad / file).write_bytes(b"")
    else:
        DAMAGES[damage](bad / file)
    with pytest.raises(CheckpointError, match=file.replace(".", r"\.")):
        read_checkpoint(bad)
    found = latest_checkpoint(folder.parent)
    assert found.path == good
    assert len(found.warnings) == 1
    assert file in found.warnings[0]
    assert "s2" in found.warnings[0]


def test_a_damaged_one_takes_no_whole_ones_place(folder: Path) -> None:
    """With two kept, the next save leaves the one that the run came from, and removes the damaged."""
    for number in range(2):
        write_checkpoint(folder, f"s{number}", numbered(number), {}, keep=2)
    flip(folder / "s1" / "x.npy")
    found = latest_checkpoint(folder)
    assert found.damaged == ["s1"]
    write_checkpoint(folder, "s2", numbered(2), {}, keep=2, damaged=found.damaged)
    assert names(folder) == ["s0", "s2"]


def test_one_that_cannot_be_read_now_is_not_taken_for_damaged(folder: Path) -> None:
    """It is passed over with a warning, and no save removes it before others."""
    for number in range(2):
        write_checkpoint(folder, f"s{number}", numbered(number), {}, keep=2)
    (folder / "s1" / "x.npy").rename(folder / "x.npy")
    (folder / "s1" / "x.npy").symlink_to("x.npy")  # a loop: the system cannot say what it leads to
    found = latest_checkpoint(folder)
    assert found.path.name == "s0" and found.damaged == [] and "cannot be read" in found.warnings[0]


def test_a_wrong_size_is_found_without_checksums(folder: Path) -> None:
    """Sizes are compared even when checksums are not."""
    path = write_checkpoint(folder, "a", ARRAYS, STATE, keep=1)
    cut(path / "output.clock.npy")
    with pytest.raises(CheckpointError, match="bytes"):
        read_checkpoint(path, verify=False)


def test_the_fallback_is_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A program that ignores the returned warnings still has them in its log."""
    write_checkpoint(folder, "s1", numbered(1), {}, keep=2)
    cut(write_checkpoint(folder, "s2", numbered(2), {}, keep=2) / "x.npy")
    latest_checkpoint(folder)
    assert "s2" in caplog.text


def test_none_whole_is_an_error_that_says_why(folder: Path) -> None:
    """With every checkpoint damaged the error lists what is wrong with each."""
    for name in ("s1", "s2"):
        cut(write_checkpoint(folder, name, numbered(0), {}, keep=2) / "x.npy")
    with pytest.raises(CheckpointError, match=r"(?s)s2.*s1"):
        latest_checkpoint(folder)


@pytest.mark.parametrize("what", ["missing", "empty", "run"])
def test_no_checkpoint_is_a_clear_error(tmp_path: Path, what: str) -> None:
    """A missing folder, an empty one, and a run without checkpoints."""
    if what != "missing":
        (tmp_path / what / "logs").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="no such folder" if what == "missing" else "no checkpoint"):
        latest_checkpoint(tmp_path / what)


@pytest.mark.usefixtures("root")
def test_another_users_run_is_a_clear_error(folder: Path) -> None:
    """Run directories are their users' alone."""
    write_checkpoint(folder, "a", numbered(0), {}, keep=2)
    folder.parent.chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(CheckpointError, match="cannot be read"):
            latest_checkpoint(folder.parent)
    finally:
        os.seteuid(0)


def test_one_checkpoint_can_be_asked_for(folder: Path) -> None:
    """The path of a checkpoint itself is taken, and checked."""
    path = write_checkpoint(folder, "a", numbered(0), {}, keep=2)
    write_checkpoint(folder, "b", numbered(1), {}, keep=2)
    assert latest_checkpoint(path).path == path
    flip(path / "x.npy")
    with pytest.raises(CheckpointError, match="checksum"):
        latest_checkpoint(path)


def test_another_version_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint of another version is never misread."""
    monkeypatch.setattr(manifest, "CHECKPOINT_VERSION", 99)
    path = write_checkpoint(folder, "a", ARRAYS, STATE, keep=1)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"format 99.*reads format 1: upgrade distlsh"):
        read_checkpoint(path)


def test_the_manifest_is_json(folder: Path) -> None:
    """Other programs can read the manifest."""
    path = write_checkpoint(folder, "a", ARRAYS, STATE, keep=1)
    content = json.loads((path / checkpoint.MANIFEST).read_text())["content"]
    assert content["state"] == STATE
    assert content["arrays"]["output.weights"]["shape"] == [3, 4]


def test_too_little_space_is_said_before_writing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the bytes needed, and the earlier checkpoint stays."""
    write_checkpoint(folder, "a", ARRAYS, STATE, keep=1)
    usage = checkpoint.shutil.disk_usage(folder)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(ResourceError, match=r"needs 1,048,651 bytes.* 10 free"):
        write_checkpoint(folder, "b", ARRAYS, STATE, keep=1)
    assert names(folder) == ["a"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_failing_disk_leaves_no_half_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """An error in the middle of writing removes what was written, and keeps what was there."""
    write_checkpoint(folder, "a", ARRAYS, STATE, keep=1)

    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    expected = CheckpointError if number == errno.EIO else ResourceError
    with pytest.raises(expected, match="could not be written" if number == errno.EIO else "1,048,651 bytes"):
        write_checkpoint(folder, "b", ARRAYS, STATE, keep=1)
    assert names(folder) == ["a"]
    assert latest_checkpoint(folder).path == folder / "a"


def test_two_writers_are_refused(folder: Path) -> None:
    """While one process writes, a second is told so, and the first is not swept."""
    folder.mkdir()
    with checkpoint._only_writer(folder), pytest.raises(CheckpointError, match="another process"):
        write_checkpoint(folder, "a", ARRAYS, STATE, keep=1)
