"""Counts of how often each instance was trained."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.errors import DistlshError
from distlsh.runtime.visits import VISITS, visits_of


def test_counts_are_summed_up_as_least_missing_and_repeated():
    """Repeats are what goes beyond the acknowledged samples; below the epochs an instance is missing."""
    found = visits_of({VISITS: np.array([2, 3, 2, 4], "i4")}, epochs=2, samples=8)
    assert found == (2, 0, 3)
    found.check(2)


def test_an_instance_that_was_left_out_is_an_error():
    """A repeat elsewhere does not make good for a sample that was lost."""
    found = visits_of({VISITS: np.array([2, 3, 1, 4], "i4")}, epochs=2, samples=8)
    assert found.missing == 1
    with pytest.raises(DistlshError, match="1 instances were not trained in every epoch"):
        found.check(2)
