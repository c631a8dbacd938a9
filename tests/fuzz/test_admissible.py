"""Absurd but admissible data through training, prediction and search, with every index checked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_admissible_data_makes_a_kernel_reach_outside_of_an_array():
    """Empty rows, the largest ids, all labels or none, absurd values, one neuron: all within bounds."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.admissible", "60"],
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1"}, cwd=Path(__file__).parents[2],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-4000:]
