"""Makes the benchmarks' own modules importable, as their scripts do."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path += [str(BENCHMARKS), str(BENCHMARKS / "peers"), str(BENCHMARKS / "peers" / "adapters")]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)
