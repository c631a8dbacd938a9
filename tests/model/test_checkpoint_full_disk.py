"""A disk that fills up while a checkpoint is written."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import numpy as np
import pytest

from distlsh.errors import CheckpointError, ResourceError
from distlsh.model.checkpoint import Moment, latest_checkpoint, read_checkpoint, write_checkpoint
from tests.small_disk import fill, small_disk

MIB = 1 << 20
ARRAYS = {"x": np.arange(MIB, dtype=np.int64), "y": np.ones(MIB, np.int64)}


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    """The system's own "no space left", half-way: said so, nothing is left of the new one, room is again."""
    with small_disk(tmp_path / "disk", 48 * MIB) as disk:
        folder = disk / "checkpoints"
        old = write_checkpoint(folder, "s1", ARRAYS, {}, keep=1)

        def someone_else(moment: Moment) -> None:
            if moment is Moment.BLOCK and not (disk / "filler").exists():
                fill(disk, leave=MIB)

        with pytest.raises(ResourceError, match=r"filled up while writing.*checkpoint\.keep"):
            write_checkpoint(folder, "s2", ARRAYS, {}, keep=1, watch=someone_else)
        assert [path.name for path in folder.iterdir()] == ["s1"] and latest_checkpoint(disk).path == old
        np.testing.assert_array_equal(read_checkpoint(old)[0]["x"], ARRAYS["x"])
        (disk / "filler").unlink()
        assert write_checkpoint(folder, "s2", ARRAYS, {}, keep=1).name == "s2"


def test_a_limit_of_file_sizes_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    """Where the system refuses a file's growth for another reason, that is told in its words."""
    old = write_checkpoint(tmp_path, "s1", {"x": np.zeros(9)}, {}, keep=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    try:
        with pytest.raises(CheckpointError, match="File too large"):
            write_checkpoint(tmp_path, "s2", ARRAYS, {}, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in tmp_path.iterdir()] == ["s1"] and latest_checkpoint(tmp_path).path == old
