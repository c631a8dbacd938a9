"""Numbers that are not finite in real runs: found, named, and followed by what `train.on_non_finite` says."""

from __future__ import annotations

import json
import shutil
import time
import zlib

import msgspec
import numpy as np
import pytest
from watching import Watcher

from distlsh.data.opening import open_pair
from distlsh.data.store import _CHECKS, _HEADER_BYTES, _check_file, _checksum, _note, _sample_crc
from distlsh.errors import NonFiniteError
from distlsh.inference import Model
from distlsh.model.checkpoint import FOLDER, latest_checkpoint, read_checkpoint, write_checkpoint
from distlsh.runtime.launch import run

ROW = 4321
BEGINNING = "samples-000000000000"
"""The checkpoint of what has not trained yet."""


@pytest.fixture
def poisoned(config, tmp_path):
    """Make a configuration whose training data has one bad value, in instance ROW; return it and its feature.

    The store is whole and noted as checked, so that nothing but the training meets the value.
    """

    def make(value, **groups):
        made = config(**groups)
        open_pair(made.data)
        mine = tmp_path / "cache"
        shutil.copytree(made.data.cache_dir, mine)
        made = msgspec.structs.replace(made, data=msgspec.structs.replace(made.data, cache_dir=str(mine)))
        train, _ = open_pair(made.data)
        path, place = train.path, int(train.indptr[ROW])
        with (path / "values.npy").open("r+b") as file:
            file.seek(_HEADER_BYTES + 4 * place)
            file.write(np.float32(value).tobytes())
        forge(path)
        return made, int(train.indices[place])

    return make


def forge(path):
    """Make a store's checksums those of its files."""
    content = json.loads((path / "meta.json").read_text())
    del content["checksum"]
    entry, file = content["arrays"]["values"], path / "values.npy"
    entry["crc32"] = zlib.crc32(file.read_bytes()[_HEADER_BYTES:])
    entry["sample_crc32"] = _sample_crc(file)
    (path / "meta.json").write_text(json.dumps({**content, "checksum": _checksum(content)}))
    stats = {name: _check_file(path, name, entry) for name, entry in content["arrays"].items()}
    _note(path, {**stats, "checks": _CHECKS})


def texts(watcher, level="warning"):
    return [notice.text for notice in watcher.notices if notice.level == level]


def all_finite(run_dir):
    arrays, _ = read_checkpoint(latest_checkpoint(run_dir).path)
    return all(np.isfinite(a).all() for name, a in arrays.items() if a.dtype == np.float32)


def test_a_bad_value_stops_the_run_with_its_place(poisoned, tmp_path):
    """By default the error names worker, instance, layer and feature, and nothing bad was learned.

    The run goes on, from its last checkpoint, once it is told to leave the instance out.
    """
    settings, feature = poisoned(
        np.nan, model={"warm_start": False}, run={"workers": 1}, checkpoint={"interval": 512}
    )
    with pytest.raises(NonFiniteError) as caught:
        run(settings, run_dir=tmp_path / "run")
    assert f"worker-0: instance {ROW} of" in str(caught.value)
    assert f"layer data: feature {feature} has the value nan" in str(caught.value)
    assert "--resume with --set train.on_non_finite=skip" in str(caught.value)
    train = msgspec.structs.replace(settings.train, on_non_finite="skip")
    resumed = run(msgspec.structs.replace(settings, train=train), resume=tmp_path / "run")
    assert resumed.status == "completed" and resumed.samples == 12_000
    assert resumed.non_finite_samples == settings.train.epochs


def test_a_bad_value_stops_the_run_in_its_warm_start(poisoned, tmp_path):
    """The warm start, which meets all instances first, finds the value too."""
    settings, feature = poisoned(np.inf)
    with pytest.raises(NonFiniteError, match=rf"instance {ROW} of .* feature {feature} has the value inf"):
        run(settings, run_dir=tmp_path / "run")


@pytest.mark.parametrize(
    ("policy", "workers", "value", "layer"),
    [
        ("skip", 2, np.nan, "data"),
        ("fall_back", 2, -np.inf, "data"),
        ("skip", 1, 1e38, "input"),
        pytest.param("skip", 1, np.inf, "data", marks=pytest.mark.slow),
        pytest.param("fall_back", 1, np.nan, "data", marks=pytest.mark.slow),
        pytest.param("skip", 2, -1e38, "input", marks=pytest.mark.slow),
    ],
)
def test_a_bad_instance_is_left_out_once_an_epoch(poisoned, tmp_path, policy, workers, value, layer):
    """Skipped, it is counted and named, everything else is trained, and every weight stays finite."""
    settings, feature = poisoned(value, train={"on_non_finite": policy}, run={"workers": workers})
    watcher = Watcher()
    summary = run(settings, observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.samples == 12_000
    assert summary.non_finite_samples == 2 and summary.fall_backs == 0
    assert watcher.reports[-1].non_finite_samples == 2
    told = [text for text in texts(watcher) if text.startswith("left out")]
    assert told and all(f"instance {ROW} of" in t and f"layer {layer}" in t for t in told)
    assert f"feature {feature}" in told[0]
    assert all_finite(tmp_path / "run") and summary.p_at_1 > 0.3


def saved_in(run_dir):
    return {path.name for path in (run_dir / FOLDER).glob("*")}


def diverging(config, policy, lr=3.0, **groups):
    """Return a run of plain vectors and momentum, which rates above about 0.1 blow up."""
    train = {
        "lr": lr,
        "optimizer": "sgd",
        "momentum": 0.9,
        "on_non_finite": policy,
        **groups.pop("train", {}),
    }
    return config(model={"normalize": False}, train=train, **groups)


class Patient(Watcher):
    """Holds training up after some samples until a checkpoint is there."""

    def report(self, report):
        super().report(report)
        if report.samples >= 500 and not any("checkpoint samples-" in text for text in texts(self, "info")):
            time.sleep(0.3)


def late(config, policy, lr=4.0, interval=0, **train):
    """Return a run whose rate rises, so that it has learned something when it blows up."""
    train = {"warmup": 0.9, "epochs": 3, **train}
    return diverging(config, policy, lr, train=train, checkpoint={"interval": interval})


def test_a_rate_that_diverges_stops_the_run(config, tmp_path):
    """The error names instance and layer, and the rate to lower."""
    with pytest.raises(
        NonFiniteError, match=r"worker-\d: instance \d+ of .* layer .*[Ll]ower train\.lr \(now 3\)"
    ):
        run(diverging(config, "stop"), run_dir=tmp_path / "run")


def test_a_rate_that_diverges_is_not_skipped_for_long(config, tmp_path):
    """More than a hundredth of the samples left out end the run, and nothing of its weights is saved."""
    with pytest.raises(NonFiniteError, match=r"samples had to be left out, the first: worker-\d: instance"):
        run(late(config, "skip"), run_dir=tmp_path / "run")
    assert saved_in(tmp_path / "run") <= {BEGINNING}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_rate_that_diverges_falls_back_until_it_learns(config, tmp_path, workers):
    """From the first values with a tenth of the rate, and again, until training completes."""
    watcher = Watcher()
    settings = diverging(config, "fall_back", run={"workers": workers}, train={"fall_back_factor": 0.1})
    summary = run(settings, observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.samples == 12_000
    assert 1 <= summary.fall_backs <= 3 and summary.lr_scale == pytest.approx(0.1**summary.fall_backs)
    assert summary.non_finite_samples == 0 and summary.repeated_samples == 0
    assert watcher.reports[-1].lr == pytest.approx(3.0 * summary.lr_scale)
    assert sum("training begins anew" in text for text in texts(watcher, "info")) == summary.fall_backs
    assert all_finite(tmp_path / "run") and summary.p_at_1 > 0.2
    assert Model.load(tmp_path / "run").config.train.lr == 3.0


def test_smaller_rates_that_do_not_help_end_the_run(config, tmp_path):
    """After train.max_fall_backs returns the next finding ends the run, and bad weights are not saved."""
    settings = late(config, "fall_back", max_fall_backs=1, fall_back_factor=0.9)
    with pytest.raises(NonFiniteError, match=r"went back 1 times .* did not help"):
        run(settings, run_dir=tmp_path / "run")
    assert saved_in(tmp_path / "run") <= {BEGINNING}


def test_training_goes_back_to_the_last_checkpoint(config, tmp_path):
    """A rate that rises until it diverges: back to a checkpoint, a full refresh, smaller rates, the end."""
    watcher = Patient()
    settings = late(config, "fall_back", 1.0, fall_back_factor=0.05, interval=500)
    summary = run(settings, observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.samples == 18_000
    back = [text for text in texts(watcher, "info") if text.startswith("went back to checkpoint samples-")]
    assert back and summary.fall_backs >= len(back)
    fulls = [rehash.samples for rehash in watcher.rehashes if rehash.full]
    assert len(fulls) >= 1 + len(back)
    _, state = read_checkpoint(latest_checkpoint(tmp_path / "run").path)
    assert state["position"]["lr_scale"] == pytest.approx(0.05**summary.fall_backs)
    assert all_finite(tmp_path / "run")


WEIGHTS = "output.weights"


class Planting(Patient):
    """Puts two newer checkpoints beside each that is saved: a damaged one, and one with a NaN."""

    def __init__(self):
        super().__init__()
        self.left_at_returns = []

    def notice(self, notice):
        super().notice(notice)
        if notice.text.startswith("checkpoint samples-") and " after " in notice.text:
            self.plant(self.run_dir / FOLDER, notice.text.split()[1])
        if notice.text.startswith("went back to"):
            self.left_at_returns.append(saved_in(self.run_dir))

    def plant(self, folder, name):
        arrays, state = read_checkpoint(folder / name)
        path = write_checkpoint(folder, f"damaged-{name}", arrays, state, keep=10)
        (path / f"{WEIGHTS}.npy").write_bytes(b"")
        arrays[WEIGHTS] = np.full_like(arrays[WEIGHTS], np.nan)
        write_checkpoint(folder, f"bad-{name}", arrays, state, keep=10)


def test_bad_checkpoints_are_passed_over_and_those_not_finite_are_removed(config, tmp_path):
    """A return takes the newest good one, and so would a resume from then on."""
    watcher = Planting()
    settings = late(config, "fall_back", 1.0, fall_back_factor=0.05, interval=500)
    assert run(settings, observer=watcher, run_dir=tmp_path / "run").status == "completed"
    told = texts(watcher)
    assert any("damaged-samples-" in text and "is damaged and was passed over" in text for text in told)
    assert any("bad-samples-" in text and f"was removed: {WEIGHTS} is not finite" in text for text in told)
    assert watcher.left_at_returns
    for left in watcher.left_at_returns:
        good = max(name for name in left if name.startswith("samples-"))
        assert f"bad-{good}" not in left  # older ones stay: nobody came past them


@pytest.mark.parametrize("policy", ["stop", pytest.param("skip", marks=pytest.mark.slow)])
def test_a_bad_value_is_found_in_the_pretraining(poisoned, tmp_path, policy):
    """The pretraining, which meets it first, names it or trains without it."""
    changes = {"on_non_finite": policy}
    settings, feature = poisoned(np.nan, train=changes, pretrain={"epochs": 2, "batch_size": 256})
    found = rf"worker-\d: instance {ROW} of .* layer data: feature {feature} has the value nan"
    if policy == "stop":
        with pytest.raises(NonFiniteError, match=found + r".*samples of the pretraining"):
            run(settings, run_dir=tmp_path / "run")
        return
    summary = run(settings, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.non_finite_samples >= 4
    assert all_finite(tmp_path / "run") and summary.p_at_1 > 0.3


@pytest.mark.slow
def test_a_pretraining_that_diverges_falls_back(config, tmp_path):
    """From the first values with a smaller rate of the pretraining, until the whole run completes."""
    watcher = Watcher()
    train = {"optimizer": "sgd", "lr": 0.5, "on_non_finite": "fall_back", "fall_back_factor": 1e-20}
    pretrain = {"epochs": 1, "batch_size": 256, "lr": 1e36}
    summary = run(config(train=train, pretrain=pretrain), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.fall_backs >= 1
    assert any("training begins anew" in text for text in texts(watcher, "info"))
    assert all_finite(tmp_path / "run")
