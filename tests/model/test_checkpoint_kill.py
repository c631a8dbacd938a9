"""A writer killed at any moment leaves the checkpoints before it whole."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distlsh.model.checkpoint import latest_checkpoint, read_checkpoint, write_checkpoint

WRITER = """
import os, signal, sys, zlib
import numpy as np
from distlsh.model import array_files, checkpoint

folder, module, function, at = sys.argv[1:]
module = {"os": os, "zlib": zlib}[module]
original, calls = getattr(module, function), 0

def dying(*arguments):
    global calls
    calls += 1
    if calls == int(at):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)

checkpoint._THREADS = 1
array_files._BLOCK_BYTES = 1 << 12
setattr(module, function, dying)
checkpoint.write_checkpoint(folder, "s2", {"x": np.full(4000, 2), "y": np.ones(9)}, {"samples": 2}, keep=1)
"""

MOMENTS = [
    *(("zlib", "crc32", at) for at in (1, 4, 12)),  # header, middle of an array, the manifest
    *(("os", "fsync", at) for at in (1, 2, 3, 4)),  # arrays, manifest, folder
    ("os", "rename", 1),  # into place
    ("os", "fsync", 5),  # of the folder it now lies in
    ("os", "rename", 2),  # the old one, out of the way
]


def killed_at(folder: Path, moment: tuple[str, str, int]) -> None:
    module, function, at = moment
    done = subprocess.run([sys.executable, "-c", WRITER, str(folder), module, function, str(at)], timeout=60)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: "-".join(map(str, moment)))
def test_a_killed_writer_harms_nothing(tmp_path: Path, moment: tuple[str, str, int]) -> None:
    """The newest whole checkpoint is the old one, or the new one complete; the next write tidies up."""
    folder = tmp_path / "checkpoints"
    write_checkpoint(folder, "s1", {"x": np.full(4000, 1)}, {"samples": 1}, keep=1)
    killed_at(folder, moment)

    found = latest_checkpoint(tmp_path)
    assert found.warnings == []
    arrays, state = read_checkpoint(found.path)
    renamed = moment in MOMENTS[-2:]
    assert state["samples"] == (2 if renamed else 1)
    assert (arrays["x"] == state["samples"]).all()

    write_checkpoint(folder, "s3", {"x": np.full(4000, 3)}, {"samples": 3}, keep=1)
    assert [path.name for path in folder.iterdir()] == ["s3"]
