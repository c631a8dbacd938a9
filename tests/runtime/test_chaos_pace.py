"""How long a chaos run is made."""

from __future__ import annotations

import pytest

from distlsh.runtime.chaos import prepare
from distlsh.runtime.chaos.prepare import GAP_S, base_config, find_pace


@pytest.mark.parametrize(("wall_rate", "cpu_s"), [(20_000.0, 4.0), (2_000.0, 4.0), (20_000.0, 40.0)])
def test_a_busy_machine_makes_a_run_no_shorter(tmp_path, monkeypatch, wall_rate, cpu_s):
    """The run is as long as its workers are fast on cores of their own, or as they were, if that is more."""
    samples, workers = 40_000, 2
    summary = {
        "samples": samples,
        "samples_per_s": wall_rate,
        "workers": workers,
        "cpu_s": {"workers": cpu_s},
    }
    monkeypatch.setattr(prepare, "calm_run", lambda config, root, name: summary)
    config = base_config(None, [], workers, tmp_path)
    pace, n_train = find_pace(config, 100, tmp_path)
    fastest = max(wall_rate, samples * workers / cpu_s)
    assert pace.epochs * n_train >= 102 * GAP_S * fastest
    assert pace.gap == pytest.approx(pace.epochs * n_train / 102, rel=0.01)
