"""A writer killed at any of its system calls leaves a whole checkpoint: the old one, or the new one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model.struck import NOT_PERMITTED
from tests.needs import needs


def strike(folder: Path, share: float) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.model.struck", str(folder), str(share), "1"]
    # Threads of a BLAS library would not survive the forks.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, env=environment)
    needs(done.returncode != NOT_PERMITTED, "a system that permits ptrace")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("share", [0.25, pytest.param(1.0, marks=pytest.mark.slow)], ids=["some", "all"])
def test_a_writer_killed_at_a_system_call_leaves_a_whole_checkpoint(in_memory: Path, share: float) -> None:
    """The old or the new checkpoint is found whole after each kill; the next save tidies up."""
    found = strike(in_memory, share)
    assert found["old"] > 0 and found["new"] > 0, "killed before and after the new one was in its place"
    assert found["killed"] > share * found["calls"] / 2 and found["calls"] > 100
