"""Small runs of real processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest

from distlsh.config.schema import Config

sys.path.insert(0, str(Path(__file__).parent))

BASE = {
    "data": {"synth": {"n_train": 6000, "n_test": 800, "n_features": 2000, "n_labels": 1500, "seed": 3}},
    "model": {"hidden": [64]},
    "lsh": {"n_active": 96, "dim": 32, "n_tables": 16, "n_probes": 2, "bucket_size": 32},
    "train": {"epochs": 2, "chunk_size": 512, "seed": 7, "lr": 0.02, "adagrad_init": 0.0},
    "rehash": {"initial_interval": 2000},
    "eval": {"n_rows": 200},
    "run": {"workers": 2, "report_s": 0.02, "stop_timeout_s": 5.0},
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def config(cache):
    """Make a configuration: BASE, with groups updated from keyword arguments."""

    def make(**groups):
        values = json.loads(json.dumps(BASE))
        values["data"]["cache_dir"] = str(cache)
        for group, changes in groups.items():
            values.setdefault(group, {}).update(changes)
        return msgspec.convert(values, Config)

    return make
