"""Learning rates by hand."""

from __future__ import annotations

import pytest

from distlsh.config.schema import TrainConfig
from distlsh.model.schedule import lr_at, lr_factor, lr_input_at


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {0: 1.0, 500: 1.0, 1000: 1.0}),
        ({"warmup": 0.1}, {0: 0.0, 50: 0.5, 100: 1.0, 900: 1.0}),
        ({"schedule": "linear"}, {0: 1.0, 250: 0.75, 1000: 0.0}),
        ({"schedule": "linear", "final_lr": 0.2, "warmup": 0.2}, {100: 0.5, 200: 1.0, 600: 0.6, 1000: 0.2}),
        ({"schedule": "cosine"}, {0: 1.0, 500: 0.5, 1000: 0.0}),
        ({"schedule": "cosine", "final_lr": 0.1}, {0: 1.0, 500: 0.55, 1000: 0.1}),
        ({"schedule": "step"}, {499: 1.0, 500: 0.1, 749: 0.1, 750: 0.01, 1000: 0.01}),
        ({"schedule": "step", "step_at": [0.3], "step_factor": 0.5, "warmup": 0.5}, {250: 0.5, 500: 0.5}),
    ],
)
def test_factor_by_hand(settings, expected):
    """Each schedule has the factor computed by hand, with and without warm-up."""
    train = TrainConfig(**settings)
    for sample, factor in expected.items():
        assert lr_factor(train, sample, 1000) == pytest.approx(factor, abs=1e-9), sample


def test_rates_of_the_layers():
    """The first layer has a rate of its own where one is set, on the same schedule."""
    train = TrainConfig(lr=0.2, lr_input=0.04, schedule="linear")
    assert lr_at(train, 500, 1000) == pytest.approx(0.1)
    assert lr_input_at(train, 500, 1000) == pytest.approx(0.02)
    assert lr_input_at(TrainConfig(lr=0.2), 0, 1000) == 0.2


def test_samples_beyond_the_end_and_empty_trainings():
    """Past the end the rate stays the last one; a training of no samples does not divide by zero."""
    train = TrainConfig(schedule="linear", final_lr=0.3)
    assert lr_factor(train, 5000, 1000) == pytest.approx(0.3)
    assert 0.3 <= lr_factor(train, 0, 0) <= 1.0
