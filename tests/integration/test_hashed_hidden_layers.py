"""Runs of real processes whose hidden layers are hashed."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from watching import Watcher, kill

from distlsh.data.opening import open_pair
from distlsh.errors import RunInterrupted
from distlsh.inference import Model
from distlsh.model.checkpoint import latest_checkpoint, read_checkpoint
from distlsh.runtime.launch import run

TWO_HASHED = {
    "model": {"hidden": [256, 128], "active_share": [0.2, 0.25], "activation": "relu"},
    "lsh": {"hidden": {"n_tables": 24, "bucket_size": 64}},
    "train": {"lr": 0.03, "adagrad_init": 0.01},
    "rehash": {"initial_interval": 1000},
}


def hashed(config, workers=2, **changes):
    groups = {name: {**values, **changes.get(name, {})} for name, values in TWO_HASHED.items()}
    rest = {name: values for name, values in changes.items() if name not in groups}
    return config(**groups, **{**rest, "run": {"workers": workers, **changes.get("run", {})}})


def weights(run_dir):
    return read_checkpoint(latest_checkpoint(run_dir).path)[0]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lsh": {"n_active": 5000, "hidden": {"choice": "tables"}}},
        {"model": {"active_share": [1.0, 0.25]}, "train": {"optimizer": "adam", "lr": 0.002}},
        {"model": {"active_share": [0.2, 1.0], "normalize": True, "activation": "linear"}},
        {"lsh": {"hidden": {"choice": "exact"}}},
    ],
    ids=["both", "dense-output", "second", "first", "exact"],
)
def test_hashed_layers_train_with_two_workers(config, tmp_path, changes):
    """Mixes of dense and hashed layers learn far above popularity at a part of the multiply-adds."""
    watcher = Watcher()
    summary = run(hashed(config, **changes), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.p_at_1 > 5 * summary.popularity_p_at_1
    assert 0 < summary.hidden_mac_fraction < 0.7 and summary.mac_fraction < 0.9
    last = watcher.evaluations[-1]
    # Tables of the output find less behind a ReLU.
    assert last.lsh_p_at_1 > summary.popularity_p_at_1
    shares = changes.get("model", {}).get("active_share", [0.2, 0.25])
    assert len(last.hidden_recall) == sum(share < 1 for share in shares)
    dense_output = "n_active" in changes.get("lsh", {})
    assert (last.table_recall_at_1 is None) == dense_output
    by_tables = changes.get("lsh", {}).get("hidden", {}).get("choice") != "exact"
    for recall, share in zip(last.hidden_recall, (s for s in shares if s < 1), strict=True):
        assert share < recall < 1 if by_tables else recall == 1


def test_the_saved_model_gives_the_figures_of_the_run(config, tmp_path):
    """A checkpoint's tables of all layers give the run's figures again; predictions differ by method."""
    watcher = Watcher()
    run(hashed(config), observer=watcher, run_dir=tmp_path / "run")
    _, test = open_pair(hashed(config).data)
    model, last = Model.load(tmp_path / "run"), watcher.evaluations[-1]
    again = model.evaluate(test)
    for figure in ("p_at_1", "lsh_p_at_1", "lsh_mac_fraction", "table_recall_at_10", "hidden_recall"):
        assert getattr(again, figure) == pytest.approx(getattr(last, figure), abs=5e-3), figure
    exact, by_tables = (model.predict_rows(test, None, 1, method)[0] for method in ("exact", "lsh"))
    assert 0 < np.mean(exact == by_tables) < 1


def deterministic(config):
    return hashed(config, workers=1, train={"deterministic": True})


def test_deterministic_runs_repeat_and_resume_bit_for_bit(config, tmp_path):
    """Twice the same run, and once interrupted and resumed, end with the same bytes in every array."""
    for name in "ab":
        run(deterministic(config), run_dir=tmp_path / name)
    watcher = Watcher(5000, lambda watcher: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(RunInterrupted):
        run(deterministic(config), observer=watcher, run_dir=tmp_path / "cut")
    run(deterministic(config), resume=tmp_path / "cut")
    a, *others = (weights(tmp_path / name) for name in ("a", "b", "cut"))
    assert {"input.dirty", "input.tables.ids", "hidden.1.tables.codes", "tables.generation"} <= a.keys()
    for other in others:
        assert a.keys() == other.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], other[key], err_msg=key)


@pytest.mark.parametrize("role", ["worker-1", "rehasher"])
def test_a_killed_child_is_replaced_and_the_run_completes(config, tmp_path, role):
    """kill -9 of a worker or the rehasher costs a restart, not the run."""
    watcher = Watcher(1000, kill(role))
    summary = run(hashed(config), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed"
    assert summary.worker_restarts == 1, [notice.text for notice in watcher.notices]
    assert summary.p_at_1 > 5 * summary.popularity_p_at_1
