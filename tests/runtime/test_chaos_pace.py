"""How long a chaos run is made."""

from __future__ import annotations

import subprocess

import pytest

from distlsh.errors import DistlshError, UsageError
from distlsh.runtime.chaos import prepare
from distlsh.runtime.chaos.bench import run_chaos
from distlsh.runtime.chaos.prepare import GAP_S, base_config, find_pace
from distlsh.runtime.chaos.target import Life, Target


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
    pace, n_train, _ = find_pace(config, 100, tmp_path)
    fastest = max(wall_rate, samples * workers / cpu_s)
    assert pace.epochs * n_train >= 102 * GAP_S * fastest
    assert pace.gap == pytest.approx(pace.epochs * n_train / 102, rel=0.01)


@pytest.mark.parametrize("roles", [{}, {"rehasher": 0.0}])
def test_a_short_run_shows_whether_there_is_a_rehasher(tmp_path, monkeypatch, roles):
    """A run without hash tables has none: nobody must wait for it."""
    summary = {"samples": 40_000, "samples_per_s": 1e4, "workers": 2, "cpu_s": {"workers": 4.0, **roles}}
    monkeypatch.setattr(prepare, "calm_run", lambda config, root, name: summary)
    assert find_pace(base_config(None, [], 2, tmp_path), 4, tmp_path).tables is ("rehasher" in roles)


def test_data_without_test_rows_is_refused_before_anything_is_trained(tmp_path):
    """P@1 could not be compared: the error says so, and what to set."""
    (tmp_path / "train.txt").write_text("1 2 2\n0 0:1\n")
    settings = ["data.test=null", f"data.train={tmp_path}/train.txt"]
    config = base_config("bibtex", settings, 2, tmp_path / "cache")
    with pytest.raises(UsageError, match=r"data\.test: not set.*--set data\.test=FILE"):
        run_chaos(config, tmp_path / "chaos", seed=1, n_faults=2)
    assert not (tmp_path / "chaos").exists()


class Report:
    """What an ear hears of a run: more each time one asks, or the same for ever."""

    def __init__(self, step):
        self.step, self.n = step, 0

    @property
    def news(self):
        self.n += self.step
        return self.n

    def close(self):
        pass


@pytest.fixture
def heard(tmp_path, monkeypatch):
    """Return a target whose command lives for half a second and is heard of as a test says."""
    target = Target(tmp_path, "run")
    target.lives.append(Life(subprocess.Popen(["sleep", "0.5"]), target.own))

    def make(step):
        monkeypatch.setattr(Life, "ear", Report(step))
        return target

    yield make
    target.close()


def test_a_run_that_gets_on_is_waited_for_as_long_as_it_takes(heard):
    """Half a second is five times the silence that is borne: one's own data may train for hours."""
    assert heard(1).finish_whole(0.1) == 0


def test_a_run_that_gets_nowhere_is_an_error(heard):
    """It hangs: it did nothing in all that time."""
    with pytest.raises(DistlshError, match="does not end"):
        heard(0).finish_whole(0.1)
