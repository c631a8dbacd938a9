"""Runs that pretrain the first layer, by real processes."""

from __future__ import annotations

import json
import os
import signal

import msgspec
import numpy as np
import pytest
from watching import Watcher, kill

from distlsh.data.opening import open_pair
from distlsh.errors import CheckpointError, DistlshError, RunInterrupted
from distlsh.inference import Model
from distlsh.model.checkpoint import latest_checkpoint, read_checkpoint, write_checkpoint
from distlsh.model.counters import Counter
from distlsh.runtime.launch import run

PRETRAIN = {"epochs": 2, "batch_size": 128, "pool": 1024}


class InAPool(Watcher):
    """Sends SIGINT once, when batches of the pretraining are counted and no pool is acknowledged."""

    def report(self, report):
        super().report(report)
        shares = [one.phase_share for one in self.reports if one.phase == "pretrain"]
        if report.phase == "pretrain" and report.samples_per_s > 0 and not any(shares):
            interrupt(self)


class InPretraining(Watcher):
    """Does something once, when a report shows the pretraining under way."""

    def report(self, report):
        super().report(report)
        if report.phase == "pretrain" and (report.phase_share or 0.0) > 0.1 and self.do is not None:
            self.do, do = None, self.do
            do(self)


def interrupt(watcher):
    os.kill(os.getpid(), signal.SIGINT)


def cut(config, run_dir):
    """Interrupt a run in its pretraining; return the checkpoint's folder."""
    with pytest.raises(RunInterrupted, match="--resume"):
        run(config, observer=InPretraining(do=interrupt), run_dir=run_dir)
    return latest_checkpoint(run_dir).path


def weights(run_dir):
    return read_checkpoint(latest_checkpoint(run_dir).path)[0]


def test_two_workers_pretrain_then_train(config, tmp_path):
    """The stage is reported with its own rate, loss and speed, counted apart, and accuracy is good."""
    watcher = Watcher()
    summary = run(config(pretrain=PRETRAIN), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.samples == 12_000 and summary.p_at_1 > 0.4
    assert 0 < summary.pretrained <= 12_000 and 0 < summary.pretrain_s < summary.train_s
    assert summary.samples_per_s == pytest.approx(12_000 / (summary.train_s - summary.pretrain_s), rel=0.01)
    during = [r for r in watcher.reports if r.phase == "pretrain"]
    shares = [r.phase_share for r in during]
    assert shares == sorted(shares) and all(r.samples == 0 and r.eta_s is None for r in during)
    rates = [r.lr for r in during]
    assert rates == sorted(rates, reverse=True) and rates[0] <= 0.02
    losses = [r.loss for r in during if r.loss is not None]
    assert losses and all(0 < loss < 30 for loss in losses) and any(r.samples_per_s > 0 for r in during)
    assert any(notice.text.startswith("pretrained on ") for notice in watcher.notices)
    assert watcher.evaluations[0].train_s >= summary.pretrain_s
    assert (
        json.loads((tmp_path / "run" / "summary.json").read_text())["pretrain_loss"] == summary.pretrain_loss
    )


def deterministic(config, **groups):
    return config(run={"workers": 1}, train={"deterministic": True}, pretrain=PRETRAIN, **groups)


def test_deterministic_runs_repeat_and_resume_bit_for_bit(config, tmp_path):
    """Whole, whole again, and interrupted in the pretraining and resumed: the same bytes and figures."""
    settings = deterministic(config, eval={"n_rows": 0, "initial": False})
    whole, again = (run(settings, run_dir=tmp_path / name) for name in ("whole", "again"))
    path = cut(settings, tmp_path / "cut")
    position = read_checkpoint(path)[1]["position"]
    assert path.name.startswith("pretrained-") and position["stage"] == "pretrain"
    assert 0 < position["pretrained"] < 12_000
    resumed = run(settings, resume=tmp_path / "cut")
    for other in (again, resumed):
        for figure in ("p_at_1", "loss", "pretrain_loss", "pretrained", "samples", "mac_fraction"):
            assert getattr(other, figure) == getattr(whole, figure), figure
    arrays = weights(tmp_path / "whole")
    for name in ("again", "cut"):
        other = weights(tmp_path / name)
        assert other.keys() == arrays.keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(other[key], array, err_msg=f"{name}: {key}")


def test_a_checkpoint_of_the_pretraining_does_not_predict_but_goes_on(config, tmp_path):
    """It holds no output rows; loading it says so, and what to do."""
    settings = config(pretrain=PRETRAIN, lsh={"auto": {"recall": 0.5, "max_bytes": 4 << 20}})
    path = cut(settings, tmp_path / "run")
    assert {name.split(".")[0] for name in read_checkpoint(path)[0]} == {"input"}
    for place in (tmp_path / "run", path):
        with pytest.raises(CheckpointError, match=r"in the pretraining.*--resume .*run$"):
            Model.load(place)
    summary = run(settings, resume=tmp_path / "run")
    assert summary.status == "completed" and summary.samples == 12_000 and summary.p_at_1 > 0.4
    assert Model.load(tmp_path / "run").spec.n_labels == 1500


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adagrad_row"])
def test_every_optimiser_pretrains(config, tmp_path, optimizer):
    """The first layer is pretrained whatever its optimiser, and the training goes on from there."""
    lr = {"adam": 0.003, "sgd": 0.01, "adagrad_row": 0.02}[optimizer]
    train = {"optimizer": optimizer, "lr": lr, "epochs": 1}
    summary = run(config(pretrain={**PRETRAIN, "lr": lr}, train=train), run_dir=tmp_path / "run")
    assert summary.p_at_1 > 5 * summary.popularity_p_at_1 and 0 < summary.pretrain_loss < 10


def test_a_worker_killed_in_the_pretraining_costs_nothing_learned(config, tmp_path):
    """The run completes; its chunk alone is done again, and the pretraining stays before the training."""
    watcher = InPretraining(do=kill("worker-1"))
    settings = config(pretrain=PRETRAIN, run={"report_s": 0.01})
    summary = run(settings, observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.samples == 12_000 and summary.p_at_1 > 0.4
    assert watcher.do is None and summary.worker_restarts == 1
    assert summary.pretrained <= 12_000 + 2 * 512
    phases = [r.phase for r in watcher.reports]
    assert "pretrain" not in phases[phases.index("train") :]


def test_without_a_shared_label_the_run_goes_on_and_says_so(tmp_path, config):
    """Data where each label has one instance trains as without pretraining, with a warning."""
    lines = ["40 60 40", *(f"{i} {i}:1 {40 + i % 20}:1" for i in range(40))]
    (tmp_path / "data.txt").write_text("\n".join(lines) + "\n")
    data = {"synth": None, "train": str(tmp_path / "data.txt"), "test": str(tmp_path / "data.txt")}
    settings = {"data": data, "lsh": {"n_active": 100}, "eval": {"n_rows": 0}, "pretrain": {"epochs": 3}}
    watcher = Watcher()
    summary = run(config(**settings), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.pretrained == 0 and summary.pretrain_loss is None
    warnings = [notice.text for notice in watcher.notices if notice.level == "warning"]
    assert warnings == ["nothing to pretrain on: no label has two instances; going on without"]


def test_a_loss_that_is_no_number_names_the_pretrainings_settings(config, tmp_path):
    """An absurd rate ends the run with what to lower; nothing broken is saved."""
    settings = config(pretrain={**PRETRAIN, "lr": 1e38}, train={"optimizer": "sgd"})
    with pytest.raises(DistlshError, match=r"samples of the pretraining\. Lower pretrain\.lr \(now 1e\+38\)"):
        run(settings, run_dir=tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").glob("*"))


def test_a_checkpoint_from_before_there_was_pretraining_resumes(config, tmp_path):
    """Without the group, the position's fields, the seconds and with fewer counters it goes on."""
    with pytest.raises(RunInterrupted):
        run(config(), observer=Watcher(3000, interrupt), run_dir=tmp_path / "run")
    path = latest_checkpoint(tmp_path / "run").path
    arrays, state = read_checkpoint(path)
    del state["config"]["pretrain"], state["pretrain_s"]
    del state["config"]["train"]["skip_below"]  # a key that its group may have gained since
    del state["position"]["pretrained"], state["position"]["pretrain_epoch"]
    state["counters"] = state["counters"][:16]
    write_checkpoint(path.parent, "older", arrays, state, keep=1)
    summary = run(config(), resume=tmp_path / "run")
    assert summary.status == "completed" and summary.samples == 12_000 and summary.pretrain_s == 0.0


def test_other_pretraining_is_refused_when_resuming(config, tmp_path):
    """A run goes on with the pretraining that it was started with."""
    cut(config(pretrain=PRETRAIN), tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"pretrain\.scale: 15\.0 in the checkpoint, 20\.0 now"):
        run(config(pretrain={**PRETRAIN, "scale": 20.0}), resume=tmp_path / "run")


def test_interrupted_seconds_are_those_of_the_pretraining(config, tmp_path):
    """The state of a checkpoint tells training's seconds and, of these, the pretraining's."""
    state = read_checkpoint(cut(config(pretrain=PRETRAIN), tmp_path / "run"))[1]
    assert 0 < state["pretrain_s"] <= state["train_s"]
    train, _ = open_pair(config().data)
    kept = state["counters"][Counter.PRETRAINED] - state["meter"]["repeats"][1]
    assert kept <= state["position"]["pretrained"] <= 2 * train.n_rows
    assert msgspec.json.decode((tmp_path / "run" / "summary.json").read_bytes())["status"] == "interrupted"


def test_a_stop_in_a_pool_waits_for_a_batch_and_the_pool_is_trained_again(config, tmp_path):
    """Nothing of the pool is acknowledged; what was trained of it counts as repeated, all of it is left."""
    pretrain = {"epochs": 1, "batch_size": 256, "pool": 6000, "partners": 16}
    settings = config(pretrain=pretrain, model={"hidden": [1024]}, run={"workers": 1}, eval={"n_rows": 0})
    with pytest.raises(RunInterrupted, match="--resume"):
        run(settings, observer=InAPool(), run_dir=tmp_path / "run")
    state = read_checkpoint(latest_checkpoint(tmp_path / "run").path)[1]
    again = state["counters"][Counter.PRETRAINED]
    assert state["position"]["pretrained"] == 0 and state["position"]["chunks"] == [[0, 6000]]
    assert 0 < again <= 6000 - 256 and state["meter"]["repeats"][1] == again
    summary = run(settings, resume=tmp_path / "run")
    data = open_pair(settings.data)[0]
    shared = data.label_counts()[data.labels] > 1
    n = np.unique(np.repeat(np.arange(data.n_rows), np.diff(data.label_indptr))[shared]).size
    assert summary.status == "completed" and summary.samples == 12_000
    assert summary.repeated_pretrained == again and summary.pretrained == n + again


class AtStage(Watcher):
    """Sends SIGINT once, when a report shows this stage."""

    def __init__(self, stage):
        super().__init__()
        self.stage = stage

    def report(self, report):
        super().report(report)
        if report.phase == self.stage:
            self.stage = None
            interrupt(self)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["warm start", "tuning"])
def test_a_stop_before_the_first_training_goes_on_after_the_pretraining(config, tmp_path, stage):
    """What follows the pretraining is cut short: no output row, no choice is saved; all is begun anew."""
    data = {"synth": {"n_train": 40_000, "n_test": 800, "n_features": 2000, "n_labels": 20_000, "seed": 3}}
    auto = {"recall": 0.5, "max_bytes": 64 << 20}
    once = {"epochs": 1}
    settings = config(data=data, pretrain={**PRETRAIN, **once}, lsh={"auto": auto}, train=once)
    watcher = AtStage(stage)
    with pytest.raises(RunInterrupted, match="--resume"):
        run(settings, observer=watcher, run_dir=tmp_path / "run")
    arrays, state = read_checkpoint(latest_checkpoint(tmp_path / "run").path)
    assert state["position"]["stage"] == "pretrain" and state["position"]["pretrained"] == 40_000
    assert {name.split(".")[0] for name in arrays} == {"input"} and "chosen" not in state
    assert not any(notice.text.startswith("chose ") for notice in watcher.notices)
    summary = run(settings, resume=tmp_path / "run")
    assert summary.status == "completed" and summary.tunings == 1 and summary.repeated_pretrained == 0
