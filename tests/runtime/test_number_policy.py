"""When numbers that are not finite end a run, and that nothing is saved of it then."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from distlsh.config.schema import Config
from distlsh.errors import NonFiniteError
from distlsh.model.counters import Counter
from distlsh.protocol.machine import RunMachine
from distlsh.protocol.messages import NonFinite
from distlsh.protocol.plan import Plan
from distlsh.runtime.non_finite import Numbers
from distlsh.runtime.reporting import Meter

PLAN = Plan(
    n_train=10, n_labels=5, epochs=1, chunk=5, rehash_initial=5, rehash_decay=0.1, rehash_max_drift=0.5
)
FOUND = NonFinite("worker-0", 1, 1, 3, "output", "a gradient is nan")


@pytest.fixture
def counters():
    return np.zeros((1, 24))


@pytest.fixture
def numbers(counters):
    """Make the policy of a run with these training settings."""

    def make(**train):
        config = msgspec.convert({"train": train}, Config)
        data = SimpleNamespace(source=Path("train.txt"), meta={})
        return Numbers(config, RunMachine(PLAN), Meter(counters, 1, 10), data, Path("saved"), lambda *_: None)

    return make


def test_too_many_samples_left_out_stop_all_saves(numbers, counters):
    """What could not learn from so many samples is not worth more than the checkpoint of before."""
    policy = numbers(on_non_finite="skip")
    counters[0, Counter.SAMPLES], counters[0, Counter.NON_FINITE] = 20_000, 100
    policy.at_report()
    assert not policy.stops
    counters[0, Counter.NON_FINITE] = 10_000
    with pytest.raises(NonFiniteError, match="had to be left out"):
        for _ in range(2):
            policy.at_report()
    assert policy.stops


def test_a_return_too_many_stops_all_saves(numbers):
    """A finding that no return mends ends the run, and the weights are those that went wrong."""
    policy = numbers(on_non_finite="fall_back", max_fall_backs=0)
    assert not policy.stops
    with pytest.raises(NonFiniteError, match="went back 0 times"):
        policy.heard(FOUND)
    assert policy.stops
