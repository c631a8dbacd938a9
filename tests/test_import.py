"""The package's front door."""

from __future__ import annotations

import subprocess
import sys

import pytest

import distlsh
from distlsh.config.schema import Config, RunConfig, TrainConfig
from distlsh.errors import ConfigError

HEAVY = {"numba", "scipy", "zmq", "numpy", "multiprocess", "rich"}


def test_import_loads_nothing_heavy() -> None:
    """``import distlsh`` imports neither NumPy nor the compiler; names come when used."""
    code = "import sys, distlsh; distlsh.__version__; dir(distlsh); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_names_are_those_documented() -> None:
    """Every public name can be fetched, and others are AttributeErrors."""
    for name in distlsh.__all__:
        assert getattr(distlsh, name) is not None
        assert name in dir(distlsh)
    with pytest.raises(AttributeError, match="LSHindex"):
        distlsh.LSHindex  # noqa: B018


def test_configurations_of_every_form() -> None:
    """A struct, a mapping and a shipped name make the same kind of checked configuration."""
    from distlsh.api import as_config

    settings = {"data": {"synth": {"n_train": 1000}}, "train": {"epochs": 3}}
    config = as_config(settings, workers=2)
    assert (config.train, config.run) == (TrainConfig(epochs=3), RunConfig(workers=2))
    assert as_config(config) == config
    assert as_config(None) == as_config("quickstart")
    with pytest.raises(ConfigError, match="epochs"):
        as_config({"train": {"epoch": 3}})
    with pytest.raises(ConfigError, match=r"data\.train"):
        as_config(Config())
