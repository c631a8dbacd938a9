"""Which settings a resumed run may change."""

from __future__ import annotations

import pytest

from distlsh.config.resuming import fixed, may_change


@pytest.mark.parametrize("key", ["run.workers", "eval.n_rows", "checkpoint.keep", "train.on_non_finite"])
def test_what_does_not_make_it_another_run_may_change(key):
    """Groups of the machine and of the figures, and what to do about numbers that are not finite."""
    assert may_change(key)


@pytest.mark.parametrize("key", ["train.lr", "train.on_non_finite_x", "runs.x", "model.hidden", "train"])
def test_what_makes_it_another_run_may_not(key):
    """What is learned, and how; a name that only begins like an allowed one is not allowed."""
    assert not may_change(key)


def test_only_fixed_settings_are_compared():
    """The checkpoint's settings are compared without those that may change."""
    assert fixed("train", {"lr": 1.0, "on_non_finite": "stop"}) == {"lr": 1.0}
