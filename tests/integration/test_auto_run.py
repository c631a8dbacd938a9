"""Runs that choose the hash functions of their output (`lsh.auto`), by real processes."""

from __future__ import annotations

import json
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
from distlsh.shm.names import SEGMENT_DIR

AUTO = {"recall": 0.7, "n_active": 150, "k": 10, "max_bytes": 4 << 20}


@pytest.fixture
def auto(config):
    """Make a configuration that chooses; groups are updated from keyword arguments."""

    def make(**groups):
        lsh = {"auto": {**AUTO, **groups.pop("auto", {})}, **groups.pop("lsh", {})}
        return config(lsh=lsh, **groups)

    return make


def weights(run_dir):
    return read_checkpoint(latest_checkpoint(run_dir).path)[0]


def state(run_dir):
    return read_checkpoint(latest_checkpoint(run_dir).path)[1]


def test_two_workers_train_with_tables_that_the_run_chose(auto, tmp_path):
    """The choice is made before the first step, said, kept in bounds, and serves the saved model."""
    watcher = Watcher()
    summary = run(auto(), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.p_at_1 > 0.4
    assert summary.tunings >= 1 and summary.tables in "\n".join(n.text for n in watcher.notices)
    assert all(e.tables is not None for e in watcher.evaluations)
    assert watcher.evaluations[-1].retrieved_mean < 1.3 * 150
    assert watcher.evaluations[-1].table_recall_at_10 > 0.7 * 0.85
    chosen = state(tmp_path / "run")["lsh"]
    arrays = weights(tmp_path / "run")
    assert arrays["tables.ids"].shape[1:] == (
        chosen["n_tables"],
        arrays["tables.sizes"].shape[2],
        chosen["bucket_size"],
    )
    assert sum(a.nbytes for name, a in arrays.items() if name.startswith("tables.")) <= 4 << 20
    _, test = open_pair(auto().data)
    again = Model.load(tmp_path / "run").evaluate(test)
    assert again.table_recall_at_10 == pytest.approx(watcher.evaluations[-1].table_recall_at_10)
    assert "auto" in (tmp_path / "run" / "config.yaml").read_text()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["tables"] == summary.tables


@pytest.mark.slow
def test_a_run_with_hashed_hidden_layers_chooses_for_its_output(auto, tmp_path):
    """Tables of hidden layers stay in the arena beside the chosen ones, and both are used and saved."""
    summary = run(
        auto(
            model={"hidden": [256, 128], "active_share": 0.25, "activation": "relu"},
            lsh={"hidden": {"n_tables": 24, "bucket_size": 64}},
            train={"lr": 0.03, "adagrad_init": 0.01},
        ),
        run_dir=tmp_path / "run",
    )
    assert summary.status == "completed" and summary.p_at_1 > 5 * summary.popularity_p_at_1
    assert summary.tunings >= 1 and summary.table_recall_at_10 > 0.3
    assert len(summary.hidden_recall) == 2 and min(summary.hidden_recall) > 0.25
    assert {"tables.ids", "input.tables.ids", "hidden.1.tables.ids"} <= weights(tmp_path / "run").keys()


def deterministic(make, **groups):
    groups.setdefault("train", {})
    groups["train"] = {"deterministic": True, **groups["train"]}
    return make(run={"workers": 1}, **groups)


@pytest.mark.slow
def test_deterministic_runs_choose_alike_and_resume_bit_for_bit(auto, tmp_path):
    """Two deterministic runs, one of them cut and resumed, end with the same tables and weights."""
    run(deterministic(auto), run_dir=tmp_path / "whole")
    watcher = Watcher(7000, lambda _: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(RunInterrupted):
        run(deterministic(auto), observer=watcher, run_dir=tmp_path / "cut")
    resumed = Watcher()
    assert run(deterministic(auto), observer=resumed, resume=tmp_path / "cut").status == "completed"
    a, b = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert a.keys() == b.keys() and state(tmp_path / "whole")["chosen"] == state(tmp_path / "cut")["chosen"]
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.mark.slow
def test_tables_are_chosen_again_when_recall_falls(auto, tmp_path):
    """Tables that nobody refreshes lose the rows; the run chooses anew, and keeps one segment of tables."""
    seen = []
    watcher = Watcher(9000, lambda _: seen.extend(SEGMENT_DIR.glob(f"distlsh-{os.getpid()}-*-tables-*")))
    config = deterministic(
        auto,
        auto={"recall": 0.3},
        train={"lr": 0.1},
        eval={"interval": 2000},
        rehash={"initial_interval": 1_000_000},
    )
    summary = run(config, observer=watcher, run_dir=tmp_path / "run")
    assert summary.tunings >= 2 and summary.tunings == sum("chose" in n.text for n in watcher.notices)
    assert len(seen) == 1 and f"-tables-{summary.tunings}-" in seen[0].name
    recalls = [e.table_recall_at_10 for e in watcher.evaluations]
    drop = next(i for i, recall in enumerate(recalls) if recall < 0.9 * recalls[0])
    assert recalls[drop + 1] > recalls[drop]
    assert [r.full for r in watcher.rehashes].count(True) >= summary.tunings
    assert [r.generation for r in watcher.rehashes] == list(range(1, len(watcher.rehashes) + 1))


@pytest.mark.slow
@pytest.mark.parametrize("role", ["rehasher", "worker-0"])
def test_a_child_that_is_killed_finds_the_chosen_tables_again(auto, tmp_path, role):
    """A restarted worker or rehasher is told which tables are in use, and the run completes."""
    watcher = Watcher(3000, kill(role))
    summary = run(auto(), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.worker_restarts == 1
    assert summary.p_at_1 > 0.4 and summary.table_recall_at_10 > 0.5
