"""From a configuration to a trained, evaluated, saved model, by real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from watching import Watcher, kill

import distlsh
from distlsh.config.load import dump_yaml
from distlsh.data.opening import open_pair
from distlsh.errors import CheckpointError, ChildError, DistlshError, RunInterrupted, UsageError
from distlsh.inference import Model
from distlsh.model.checkpoint import latest_checkpoint, read_checkpoint
from distlsh.protocol.messages import WorkerMetrics
from distlsh.protocol.reports import Report
from distlsh.runtime.launch import run
from distlsh.runtime.run_dir import RunDir
from distlsh.transport.metrics import subscribe

SUMMARY_KEYS = {
    *("status", "workers", "samples", "epochs", "samples_per_s"),
    *("load_s", "compile_s", "train_s", "eval_s", "total_s"),
    *("p_at_1", "p_at_3", "p_at_5", "ndcg_at_5", "psp_at_1", "psp_at_5", "loss"),
    *("n_active_mean", "mac_fraction", "table_recall_at_1", "table_recall_at_10"),
    *("rehashes", "table_age_s_mean", "worker_restarts", "peak_memory_bytes", "energy_j"),
}


SAME_FIGURES = (
    *(
        "p_at_1",
        "p_at_3",
        "p_at_5",
        "ndcg_at_1",
        "ndcg_at_3",
        "ndcg_at_5",
        "psp_at_1",
        "psp_at_3",
        "psp_at_5",
    ),
    *("lsh_p_at_1", "table_recall_at_1", "table_recall_at_10", "loss", "n_active_mean", "mac_fraction"),
    *("samples", "epochs", "rehashes"),
)


def weights(run_dir: Path) -> dict[str, np.ndarray]:
    return read_checkpoint(latest_checkpoint(run_dir).path)[0]


def signal_self(number=signal.SIGINT):
    return lambda watcher: os.kill(os.getpid(), number)


def test_two_workers_train_evaluate_and_save(config, tmp_path):
    """A run with 2 workers learns well above popularity and writes every file of the run directory."""
    watcher = Watcher()
    summary = run(config(), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.samples == 12_000 and summary.workers == 2
    assert summary.p_at_1 > 0.4 > 10 * summary.popularity_p_at_1
    written = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert set(written) >= SUMMARY_KEYS
    assert [e.kind for e in watcher.evaluations] == ["initial", "subset", "final"]
    assert watcher.evaluations[-1].p_at_1 > watcher.evaluations[0].p_at_1
    assert summary.rehashes == len(watcher.rehashes) >= 3 and watcher.rehashes[0].full
    assert 0 < summary.table_recall_at_1 <= 1 and 0 < summary.mac_fraction < 0.5
    files = {p.name for p in (tmp_path / "run").iterdir()}
    assert files >= {"config.yaml", "metrics.jsonl", "eval.jsonl", "logs", "checkpoints", "summary.json"}
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    samples = [json.loads(line)["samples"] for line in lines]
    assert samples == sorted(samples) and samples[-1] == 12_000


def test_the_saved_model_gives_the_figures_of_the_run(config, tmp_path):
    """Model.load(run) evaluates to the last line of eval.jsonl, exactly and by LSH."""
    watcher = Watcher()
    run(config(), observer=watcher, run_dir=tmp_path / "run")
    _, test = open_pair(config().data)
    again, last = Model.load(tmp_path / "run").evaluate(test), watcher.evaluations[-1]
    assert again.p_at_1 == pytest.approx(last.p_at_1) and again.psp_at_5 == pytest.approx(last.psp_at_5)
    assert again.lsh_p_at_1 == pytest.approx(last.lsh_p_at_1)
    assert again.table_recall_at_10 == pytest.approx(last.table_recall_at_10)


def deterministic(config, **groups):
    groups.setdefault("train", {})
    groups["train"] = {"deterministic": True, **groups["train"]}
    return config(run={"workers": 1}, **groups)


def test_deterministic_runs_repeat_bit_for_bit(config, tmp_path):
    """Two deterministic runs end with the same bytes in every array, tables included."""
    for name in "ab":
        run(deterministic(config), run_dir=tmp_path / name)
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.mark.parametrize("at", [1500, 7000])
def test_a_resumed_run_equals_an_uninterrupted_one(config, tmp_path, at):
    """Interrupt, resume, finish: the same bytes and figures as without the interruption."""
    whole = run(deterministic(config), run_dir=tmp_path / "whole")
    with pytest.raises(RunInterrupted, match="--resume"):
        run(deterministic(config), observer=Watcher(at, signal_self()), run_dir=tmp_path / "cut")
    assert json.loads((tmp_path / "cut" / "summary.json").read_text())["status"] == "interrupted"
    resumed = run(deterministic(config), resume=tmp_path / "cut")
    assert resumed.status == "completed" and resumed.samples == whole.samples
    for figure in SAME_FIGURES:
        assert getattr(resumed, figure) == getattr(whole, figure), figure
    a, b = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_a_run_cut_off_before_its_first_checkpoint_begins_again(config, tmp_path):
    """--resume of a run without any checkpoint trains it from scratch."""
    run_dir = tmp_path / "run"
    (run_dir / "checkpoints").mkdir(parents=True)
    (run_dir / "config.yaml").write_text(dump_yaml(config()))
    assert run(config(), resume=run_dir).samples == 12_000


def test_resuming_from_python_takes_the_runs_own_settings(config, tmp_path):
    """train(resume=RUN) goes on with RUN/config.yaml."""
    with pytest.raises(RunInterrupted):
        run(config(), observer=Watcher(3000, signal_self()), run_dir=tmp_path / "run")
    summary = distlsh.train(resume=tmp_path / "run")
    assert summary.status == "completed" and summary.samples == 12_000


def with_seed(config, seed):
    """Return ``config`` on data generated from another seed."""
    synth = msgspec.structs.replace(config.data.synth, seed=seed)
    return msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, synth=synth))


def test_other_rates_or_data_are_refused_when_resuming(config, tmp_path):
    """A run cannot go on with another rate, or with other instances of the same number."""
    run(config(), run_dir=tmp_path / "run")
    for other, what in (
        (config(train={"lr": 0.1}), r"train\.lr: 0\.02 in the checkpoint, 0\.1 now"),
        (with_seed(config(), 9), "as many, but others"),
    ):
        with pytest.raises(DistlshError, match=what):
            run(other, resume=tmp_path / "run")


def test_a_failure_at_the_last_save_loses_nothing(config, tmp_path):
    """Where the rehasher cannot be kept alive after the last step, the training is saved all the same."""

    class Killer(Watcher):
        killed = False

        def report(self, report):
            super().report(report)
            if report.phase in ("rehash", "train") and report.samples >= 11_000 and not self.killed:
                self.killed = True
                kill("rehasher")(self)

    with pytest.raises(ChildError, match="rehasher"):
        run(config(run={"max_restarts": 0, "report_s": 0.01}), observer=Killer(), run_dir=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"
    resumed = run(config(), resume=tmp_path / "run")
    assert resumed.status == "completed" and resumed.samples == 12_000 and resumed.p_at_1 > 0.4


def test_two_processes_do_not_write_one_run(config, tmp_path):
    """While a run goes on, resuming it elsewhere is refused."""
    refused = []

    def again(watcher):
        try:
            with RunDir.open(watcher.run_dir).lock():
                pass
        except UsageError as error:
            refused.append(str(error))

    run(config(), observer=Watcher(1000, again), run_dir=tmp_path / "run")
    assert len(refused) == 1 and "another process" in refused[0]


def test_a_resumed_run_of_two_workers_trains_what_was_left(config, tmp_path):
    """With 2 workers, SIGTERM and --resume train every sample once in all."""
    with pytest.raises(RunInterrupted):
        run(config(), observer=Watcher(3000, signal_self(signal.SIGTERM)), run_dir=tmp_path / "run")
    summary = run(config(), resume=tmp_path / "run")
    assert summary.samples == 12_000 and summary.p_at_1 > 0.4


def test_a_second_signal_stops_at_once_and_clean(config, tmp_path):
    """Two SIGINTs end the run without saving; nothing is left (see the leak check of every test)."""

    def twice(watcher):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.4)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(DistlshError, match="stopped at once") as caught:
        run(config(), observer=Watcher(1000, twice), run_dir=tmp_path / "run")
    assert caught.value.exit_code == 1


def test_other_settings_than_the_runs_are_refused_when_resuming(config, tmp_path):
    """A run cannot go on with another network: the error names what differs."""
    run(config(), run_dir=tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"network hidden: .*64.* in the checkpoint, .*32.* now"):
        run(config(model={"hidden": [32]}), resume=tmp_path / "run")
    others = {"model": {"warm_start": False}, "lsh": {"n_active": 60, "center": False}}
    with pytest.raises(CheckpointError) as caught:
        run(config(**others), resume=tmp_path / "run")
    for told in (
        r"model\.warm_start: True .*False now",
        r"lsh\.n_active: \d+ in .*60 now",
        r"lsh\.center: True",
    ):
        assert re.search(told, str(caught.value)), told


def test_a_lost_manifest_is_told_and_training_does_not_begin_anew(config, tmp_path):
    """Where the only checkpoint cannot be read, what lies there may be days of training."""
    with pytest.raises(RunInterrupted):
        run(config(), observer=Watcher(3000, signal_self()), run_dir=tmp_path / "run")
    for manifest in (tmp_path / "run").glob("checkpoints/*/manifest.json"):
        manifest.unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint in it is whole(?s:.*)manifest\.json: missing"):
        run(config(), resume=tmp_path / "run")


def test_a_directory_that_another_start_holds_keeps_its_configuration(config, tmp_path):
    """Of two that begin in one directory at once, the second writes nothing there."""
    with RunDir.create(tmp_path / "run", "x").lock(), pytest.raises(UsageError, match="another process"):
        run(config(), run_dir=tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_run_directory_is_not_overwritten(config, tmp_path):
    """Starting anew where a run lies is refused, with the way to continue it."""
    run(config(), run_dir=tmp_path / "run")
    with pytest.raises(UsageError, match="--resume"):
        run(config(), run_dir=tmp_path / "run")


@pytest.mark.parametrize(
    "groups",
    [
        {"lsh": {"n_active": 5000}},
        {"lsh": {"family": "fast_srp", "n_hashes": 8, "bucket_policy": "reservoir"}},
        {"lsh": {"family": "dwta", "n_hashes": 3}, "model": {"activation": "relu", "hidden": [64, 64]}},
        {"model": {"loss": "bce", "bias": True, "dropout": 0.1}, "train": {"optimizer": "adam", "lr": 0.003}},
        {"train": {"optimizer": "sgd", "momentum": 0.5, "lr": 0.01, "schedule": "cosine", "warmup": 0.1}},
        {"lsh": {"sampling": "score", "bucket_policy": "bottom_k"}, "model": {"bias": True}},
        {"lsh": {"sampling": "vanilla"}},
        {"lsh": {"sampling": "threshold"}},
    ],
    ids=["dense", "fast_srp", "dwta", "bce-adam", "sgd-momentum", "score", "vanilla", "threshold"],
)
def test_every_kind_of_model_trains(config, tmp_path, groups):
    """Families, losses and optimisers all end above five times popularity."""
    summary = run(config(**groups), run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.p_at_1 > 5 * summary.popularity_p_at_1
    dense = "n_active" in groups.get("lsh", {})
    assert (summary.table_recall_at_1 is None) == dense


@pytest.mark.parametrize("role", ["worker-1", "rehasher"])
def test_a_killed_child_is_replaced_and_the_run_completes(config, tmp_path, role):
    """kill -9 of a worker or the rehasher costs a restart, not the run."""
    watcher = Watcher(1000, kill(role))
    summary = run(config(), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.worker_restarts == 1
    assert any("SIGKILL" in notice.text for notice in watcher.notices)
    assert summary.p_at_1 > 0.4


@pytest.mark.parametrize("role", ["worker-1", "rehasher"])
def test_a_child_that_hangs_is_killed_and_replaced(config, tmp_path, role):
    """A stopped child gives no sign of life: it is killed after the timeout, and the run completes."""
    watcher = Watcher(1000, kill(role, signal.SIGSTOP))
    summary = run(config(run={"heartbeat_timeout_s": 2.0}), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.worker_restarts == 1
    assert any("no sign of life" in notice.text for notice in watcher.notices)


def test_a_childs_error_comes_with_its_traceback_once(config, tmp_path):
    """An exception in a worker ends the run with ChildError; what was learned is saved."""

    def break_store(watcher):
        train, _ = open_pair(config().data)
        kill("worker-0", signal.SIGKILL)(watcher)
        watcher.meta = Path(train.path) / "meta.json"
        watcher.saved = watcher.meta.read_bytes()
        watcher.meta.write_text("{}")

    watcher = Watcher(1000, break_store)
    try:
        text = failure(config(), watcher, tmp_path / "run")
    finally:
        watcher.meta.write_bytes(watcher.saved)
    assert re.search(r"(?s)worker-0 failed.*Traceback.*read_meta.*StoreError", text)
    assert text.count("worker-0 failed") == 1
    assert latest_checkpoint(tmp_path / "run").path.exists()
    summary = run(config(), resume=tmp_path / "run")
    assert summary.status == "completed" and summary.samples >= 12_000


def failure(config, watcher, run_dir) -> str:
    try:
        run(config, observer=watcher, run_dir=run_dir)
    except ChildError as error:
        return str(error)
    raise AssertionError("no ChildError")


def test_outsiders_can_subscribe_to_the_metrics(config, tmp_path):
    """The PUB socket named in a notice gives reports and workers' metrics while the run goes on."""
    got: list[object] = []

    def listen(where: str) -> None:
        for metric in subscribe(where, timeout_s=20.0):
            got.append(metric)
            if {Report, WorkerMetrics} <= {type(metric) for metric in got}:
                return

    class Listener(Watcher):
        def notice(self, notice):
            super().notice(notice)
            if "published at" in notice.text:
                threading.Thread(target=listen, args=(notice.text.split()[-1],)).start()

    run(config(), observer=Listener(), run_dir=tmp_path / "run")
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(25)
    assert {Report, WorkerMetrics} <= {type(metric) for metric in got}
