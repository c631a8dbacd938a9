"""Settings that do not fit each other are refused before anything starts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from distlsh.config import validate as limits
from distlsh.config.load import load_config
from distlsh.config.schema import Config, DataConfig, TrainConfig
from distlsh.config.validate import validate
from distlsh.errors import ConfigError


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["train.deterministic=true", "run.workers=2"],
            "run.workers: found 2, but train.deterministic needs exactly 1",
        ),
        (["run.publish=tcp://0.0.0.0:5555"], "run.publish: a port on the network needs keys"),
        (["run.control=tcp://0.0.0.0:5555"], "distlsh keygen DIR, and set run.keys: DIR"),
        (
            ["run.publish=ipc:///tmp/x", "run.keys=k"],
            "run.publish: found 'ipc:///tmp/x'; allowed: tcp://HOST:PORT",
        ),
        (["run.publish=tcp://h:65536", "run.keys=k"], "found 'tcp://h:65536'"),
        (
            ["run.control=tcp://h:65535", "run.keys=k"],
            "'tcp://h:65535'; allowed: ports below 65535",
        ),
        (
            ["run.control=tcp://h:5", "run.publish=tcp://h:5", "run.keys=k"],
            "run.publish: found port 5; run.control uses 5 and 6",
        ),
        (
            ["run.control=tcp://h:5", "run.publish=tcp://h:6", "run.keys=k"],
            "run.publish: found port 6; run.control uses 5 and 6",
        ),
        (
            ["train.on_non_finite=fall_back", "checkpoint.keep=1"],
            "checkpoint.keep: found 1, but train.on_non_finite: fall_back needs 2 or more",
        ),
        (["lsh.dim=48"], "lsh.dim: found 48; allowed: a power of two, such as 32 or 64"),
        (["lsh.bin_size=6"], "lsh.bin_size: found 6; allowed: a power of two, such as 4 or 8"),
        (
            ["model.hidden=[20]", "lsh.dim=64"],
            "lsh.dim: found 64, wider than the last hidden layer (20); allowed: at most 32",
        ),
        (
            ["lsh.family=dwta", "model.hidden=[4]"],
            "lsh.bin_size: found 8; allowed: at most the last hidden layer's width, 4",
        ),
        (
            ["model.hidden=[9, 9]", "model.active_share=[0.1, 0.1, 0.5]"],
            "model.active_share: found 3 shares for 2 hidden layers (model.hidden)",
        ),
        (
            ["lsh.hidden.dim=48", "model.hidden=[99, 9]", "model.active_share=[1, 0.1]"],
            "lsh.hidden.dim: found 48",
        ),
        (
            ["lsh.hidden.dim=64", "model.hidden=[20, 20]", "model.active_share=0.5", "lsh.dim=16"],
            "lsh.hidden.dim: found 64, wider than hidden layer 2, whose neurons' inputs are hashed (21)",
        ),
        (
            ["pretrain.epochs=2", "model.hidden=[64, 64]"],
            "model.hidden: found 2 layers; pretraining needs one: or set pretrain.epochs to 0",
        ),
        (
            ["pretrain.epochs=2", "model.active_share=0.5"],
            "model.active_share: found 0.5; pretraining needs 1: or set pretrain.epochs to 0",
        ),
        (
            ["pretrain.epochs=2", "model.activation=relu"],
            "model.activation: found relu; pretraining needs linear: or set pretrain.epochs to 0",
        ),
        (
            ["pretrain.epochs=2", "model.normalize=false"],
            "model.normalize: found false; pretraining needs true: or set pretrain.epochs to 0",
        ),
        (
            ["pretrain.epochs=2", "model.warm_start=false"],
            "model.warm_start: found false; pretraining needs true: or set pretrain.epochs to 0",
        ),
        (["pretrain.batch_size=1"], "pretrain.batch_size"),
        (["pretrain.epochs=1", "pretrain.pool=2047"], "pretrain.pool: found 2047, less than two batches"),
        (["lsh.n_active=10", "lsh.n_random=11"], "lsh.n_random: found 11, more than lsh.n_active (10)"),
        (
            ["train.momentum=0.9", "train.optimizer=adam"],
            "train.momentum: only optimizer sgd has a momentum, not adam",
        ),
        (
            ["train.final_lr=0.1", "train.schedule=step"],
            "train.final_lr: only schedules linear and cosine have one, not step",
        ),
        (
            ["train.optimizer=adam", "train.beta2=0.99999999"],
            "train.beta2: found 0.99999999, which is 1 in float32; allowed: at most 0.9999999",
        ),
        (["train.optimizer=adam", "train.beta1=0.99999998"], "train.beta1: found 0.99999998"),
        (
            ["train.eps=1e-46"],
            "train.eps: found 1e-46, which float32 cannot hold; allowed: from 1.2e-38 to 3.4e38",
        ),
        (["train.eps=1e39"], "train.eps: found 1e+39"),
        (["train.step_at=[0.7, 0.5]"], "train.step_at: found [0.7, 0.5]; allowed: shares that rise"),
        (["train.chunk_size=8"], "train.chunk_size: found 8, less than train.batch_size (32); raise it"),
        (["model.loss=bce", "model.log_q=true"], "model.log_q: corrects the softmax, but model.loss is bce"),
        (["data.train=x"], "data.synth: given together with data.train; set one of the two to null"),
        (
            ["data.synth.cluster_size=100", "data.synth.n_labels=50"],
            "data.synth.cluster_size: found 100; allowed: at most n_labels, 50",
        ),
        (
            ["run.heartbeat_s=9", "run.heartbeat_timeout_s=9"],
            "run.heartbeat_timeout_s: found 9.0; allowed: more than run.heartbeat_s, 9.0",
        ),
    ],
)
def test_settings_that_do_not_fit(tmp_path, overrides, says):
    """The message names the setting, what was found and what to do."""
    path = tmp_path / "c.yaml"
    path.write_text("data:\n  synth: {}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, check_files=False)
    assert says in str(caught.value)


def test_what_is_allowed_is_what_float32_holds():
    """At both ends of eps, and up to the last share that is less than 1."""
    below = math.nextafter(limits._ROUNDED_TO_1, 0)
    assert np.float32(limits._ROUNDED_TO_1) == 1 > np.float32(below)
    kept = np.finfo(np.float32)
    assert (float(kept.tiny), float(kept.max)) == (limits._LEAST, limits._LARGEST)
    for eps in (limits._LEAST, limits._LARGEST):
        train = TrainConfig(optimizer="adam", beta1=below, beta2=below, eps=eps)
        validate(Config(data=DataConfig(train="x"), train=train), check_files=False)


def test_the_option_that_caused_it_is_named(tmp_path):
    """A conflict made on the command line is told with the option."""
    path = tmp_path / "c.yaml"
    path.write_text("data:\n  synth: {}\n")
    with pytest.raises(ConfigError, match=r"^--workers 2: run\.workers: found 2, but train\.deterministic"):
        load_config(path, workers=2, deterministic=True)


def test_a_budget_of_all_labels_is_allowed(tmp_path):
    """n_active beyond the number of labels means a dense output, not an error."""
    path = tmp_path / "c.yaml"
    path.write_text("data:\n  synth: {n_labels: 20, cluster_size: 4}\nlsh:\n  n_active: 1000\n")
    assert load_config(path).lsh.n_active == 1000


def test_configurations_made_in_python_have_no_place():
    """Without a file the message starts with the key."""
    with pytest.raises(ConfigError, match=r"^data\.train: missing"):
        validate(Config())


def test_networks_that_cannot_be_pretrained_are_fine_without(tmp_path):
    """Two hidden layers and a ReLU are refused only where pretraining is asked for."""
    path = tmp_path / "c.yaml"
    path.write_text("data:\n  synth: {}\n")
    changes = ["model.hidden=[64, 64]", "model.activation=relu", "pretrain.batch_size=64"]
    assert load_config(path, changes).pretrain.epochs == 0
