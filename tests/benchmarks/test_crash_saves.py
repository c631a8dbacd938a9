"""A few crashes of a training while it saves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "crash_saves.py"


@pytest.mark.slow
def test_every_crash_in_a_save_is_followed_by_training_that_goes_on():
    """Coordinators killed within saves: each next run finds a checkpoint, trains further and saves."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(SCRIPT), "--crashes", "6", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(done.stdout[done.stdout.index("{") :])
    assert found["in_a_save"] == 6 and found["loadable_resumes"] == found["crashes"]
    assert found["samples"] > 0 and not found["leftovers"]
