"""What single keys cannot say: settings that do not fit each other, and missing files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from distlsh.config.addresses import LAST_PORT, split_tcp
from distlsh.config.explain import Places, at
from distlsh.config.schema import Config, HashingConfig, RunConfig
from distlsh.config.shares import layer_shares
from distlsh.config.yamlio import KeyPath
from distlsh.errors import ConfigError

_ROUNDED_TO_1 = 1 - 2.0**-25
_LEAST, _LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127
"""Of float32, in which weights are computed: the first number that becomes 1 there, and those it holds."""

Problem = tuple[str, str]
"""A dotted key, and what is wrong with its value and what to do."""


def validate(config: Config, *, places: Places | None = None, check_files: bool = True) -> None:
    """Raise ConfigError, a line for each problem, if the settings of ``config`` do not fit each other.

    ``places`` tells where keys were written; ``check_files`` asks that the data files exist.
    """
    checks = [_data, _lsh, _hidden, _pretraining, _training, _rounded, _generated, _processes, _network]
    found = [problem for check in checks for problem in check(config)]
    if check_files:
        found.extend(_files(config))
    if found:
        raise ConfigError("\n".join(_written(key, what, places or {}) for key, what in found))


def _written(key: str, what: str, places: Places) -> str:
    path: KeyPath = tuple(key.split("."))
    return f"{at(path, places)}{what}"


def _data(config: Config) -> Iterator[Problem]:
    data = config.data
    if data.train is None and data.synth is None:
        yield "data.train", "missing; name the file to train on, or generate data with data.synth"
    if data.train is not None and data.synth is not None:
        yield "data.synth", "given together with data.train; set one of the two to null"
    if data.test is not None and data.synth is not None:
        yield "data.test", "given together with data.synth, which generates its own test rows; set it to null"


def _files(config: Config) -> Iterator[Problem]:
    for name in ("train", "test"):
        file = getattr(config.data, name)
        if file is not None and not Path(file).exists():
            yield f"data.{name}", f"no such file: {file} (current folder: {Path.cwd()})"


def _lsh(config: Config) -> Iterator[Problem]:
    lsh = config.lsh
    yield from _hashing("lsh", lsh, config.model.hidden[-1], "the last hidden layer")
    if lsh.n_random > lsh.n_active:
        yield (
            "lsh.n_random",
            f"found {lsh.n_random}, more than lsh.n_active ({lsh.n_active}), of which it is a part",
        )
    if lsh.sampling == "score" and lsh.pool < lsh.n_active:
        yield (
            "lsh.pool",
            f"found {lsh.pool}, less than lsh.n_active ({lsh.n_active}), which are chosen from it; raise it",
        )


def _hashing(group: str, lsh: HashingConfig, width: int, what: str) -> Iterator[Problem]:
    for name in ("dim", "bin_size"):
        size = getattr(lsh, name)
        if not _power_of_two(size):
            low = 1 << (size.bit_length() - 1)
            yield f"{group}.{name}", f"found {size}; allowed: a power of two, such as {low} or {2 * low}"
    if lsh.family == "cross_polytope" and lsh.dim > (padded := 1 << (width - 1).bit_length()):
        yield f"{group}.dim", f"found {lsh.dim}, wider than {what} ({width}); allowed: at most {padded}"
    if lsh.family in ("wta", "dwta") and lsh.bin_size > width:
        yield f"{group}.bin_size", f"found {lsh.bin_size}; allowed: at most {what}'s width, {width}"


def _pretraining(config: Config) -> Iterator[Problem]:
    model = config.model
    wanted = {
        "hidden": (len(model.hidden) == 1, f"{len(model.hidden)} layers", "one"),
        "active_share": (set(layer_shares(model)) == {1}, model.active_share, "1"),
        "activation": (model.activation == "linear", model.activation, "linear"),
        "normalize": (model.normalize, "false", "true"),
        "warm_start": (model.warm_start, "false", "true"),
    }
    for name, (fits, found, needed) in wanted.items():
        if config.pretrain.epochs and not fits:
            yield f"model.{name}", f"found {found}; pretraining needs {needed}: or set pretrain.epochs to 0"
    pool, batch = config.pretrain.pool, config.pretrain.batch_size
    if config.pretrain.epochs and 0 < pool < 2 * batch:
        yield (
            "pretrain.pool",
            f"found {pool}, less than two batches of {batch}: nothing to choose; raise it, or 0",
        )


def _hidden(config: Config) -> Iterator[Problem]:
    model, share = config.model, config.model.active_share
    if isinstance(share, list) and len(share) not in (1, len(model.hidden)):
        yield (
            "model.active_share",
            f"found {len(share)} shares for {len(model.hidden)} hidden layers (model.hidden); "
            "give one number, or one for each layer",
        )
        return
    shares = layer_shares(model)
    if model.storage == "bfloat16" and any(one < 1 for one in shares):
        yield (
            "model.storage",
            "hashed hidden layers (model.active_share below 1) are trained in float32 only; "
            "set model.storage: float32, or model.active_share: 1",
        )
    if config.lsh.hidden.choice != "tables":
        return
    for i, (inputs, one) in enumerate(zip(model.hidden, shares[1:], strict=False)):
        if one < 1:
            what = f"hidden layer {i + 2}, whose neurons' inputs are hashed"
            yield from _hashing("lsh.hidden", config.lsh.hidden, inputs + 1, what)


def _training(config: Config) -> Iterator[Problem]:
    train = config.train
    if train.momentum > 0 and train.optimizer != "sgd":
        yield (
            "train.momentum",
            f"only optimizer sgd has a momentum, not {train.optimizer}; set it to 0 "
            "or set train.optimizer: sgd",
        )
    if train.final_lr > 0 and train.schedule not in ("linear", "cosine"):
        yield (
            "train.final_lr",
            f"only schedules linear and cosine have one, not {train.schedule}; set it to 0 "
            "or set train.schedule: cosine",
        )
    if any(later <= earlier for earlier, later in zip(train.step_at, train.step_at[1:], strict=False)):
        yield "train.step_at", f"found {train.step_at}; allowed: shares that rise"
    if train.on_non_finite == "fall_back" and config.checkpoint.keep < 2:
        yield (
            "checkpoint.keep",
            f"found {config.checkpoint.keep}, but train.on_non_finite: fall_back needs 2 or more: "
            "the newest may turn out not to be finite; raise it, or set train.on_non_finite: skip",
        )
    if train.chunk_size < train.batch_size:
        yield (
            "train.chunk_size",
            f"found {train.chunk_size}, less than train.batch_size ({train.batch_size}); raise it",
        )
    if config.model.log_q and config.model.loss != "softmax":
        yield (
            "model.log_q",
            f"corrects the softmax, but model.loss is {config.model.loss}; set it to false",
        )


def _rounded(config: Config) -> Iterator[Problem]:
    """Numbers that are in range, but not in float32: a step would divide by 0 at once."""
    train = config.train
    for name in ("beta1", "beta2"):
        found = getattr(train, name)
        if train.optimizer == "adam" and found >= _ROUNDED_TO_1:
            yield f"train.{name}", f"found {found}, which is 1 in float32; allowed: at most 0.9999999"
    if not _LEAST <= train.eps <= _LARGEST:
        yield (
            "train.eps",
            f"found {train.eps}, which float32 cannot hold; allowed: from 1.2e-38 to 3.4e38",
        )


def _generated(config: Config) -> Iterator[Problem]:
    synth = config.data.synth
    if synth is None:
        return
    for part, whole in (
        ("cluster_size", "n_labels"),
        ("n_labels_mean", "n_labels"),
        ("n_nonzeros", "n_features"),
    ):
        if getattr(synth, part) > getattr(synth, whole):
            yield (
                f"data.synth.{part}",
                f"found {getattr(synth, part)}; allowed: at most {whole}, {getattr(synth, whole)}",
            )


def _processes(config: Config) -> Iterator[Problem]:
    run = config.run
    if config.train.deterministic and run.workers != 1:
        yield (
            "run.workers",
            f"found {run.workers}, but train.deterministic needs exactly 1: "
            "workers update shared rows in no fixed order; use --workers 1",
        )
    if run.heartbeat_timeout_s <= run.heartbeat_s:
        yield (
            "run.heartbeat_timeout_s",
            f"found {run.heartbeat_timeout_s}; allowed: more than run.heartbeat_s, {run.heartbeat_s}",
        )


def _network(config: Config) -> Iterator[Problem]:
    run = config.run
    for name, where in (("publish", run.publish), ("control", run.control)):
        if where is None:
            continue
        if split_tcp(where) is None:
            yield f"run.{name}", f"found {where!r}; allowed: tcp://HOST:PORT, such as tcp://0.0.0.0:5555"
        if run.keys is None:
            yield (
                f"run.{name}",
                "a port on the network needs keys that tell who may use it; "
                "make them with: distlsh keygen DIR, and set run.keys: DIR",
            )
    yield from _ports(run)


def _ports(run: RunConfig) -> Iterator[Problem]:
    """Control takes two ports, its own and the next one."""
    control, publish = (split_tcp(where or "") for where in (run.control, run.publish))
    if control is None or not control[1]:
        return
    if control[1] == LAST_PORT:
        yield (
            "run.control",
            f"found {run.control!r}; allowed: ports below {LAST_PORT}; the next is used too",
        )
    if publish is not None and publish[1] in (control[1], control[1] + 1):
        yield (
            "run.publish",
            f"found port {publish[1]}; run.control uses {control[1]} and {control[1] + 1}: choose another",
        )


def _power_of_two(n: int) -> bool:
    return n & (n - 1) == 0
