"""The configurations that ship: they load, they fit the schema, and they are found by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from distlsh.config.load import load_config
from distlsh.config.presets import DEFAULT, find_config, presets

NAMES = sorted(presets())


def test_the_promised_ones_ship():
    """Every data set that is promised has a configuration."""
    promised = {
        "quickstart",
        "enwiki-para",
        "amazon-670k",
        "delicious-200k",
        "wiki-325k",
        "mnist",
        "bibtex",
        "delicious",
    }
    assert promised <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_loads(name):
    """Each one passes all checks but those for data files."""
    config = load_config(name, check_files=False)
    assert config.run.name == name


@pytest.mark.parametrize("name", NAMES)
def test_it_is_commented(name):
    """Each one says what it is for and how it is started, and carries no key twice."""
    text = presets()[name].read_text()
    assert text.startswith("# ")
    assert len(re.findall("#", text)) >= 5


@pytest.mark.parametrize(
    ("name", "a", "b"),
    [
        ("amazon-670k", 0.6, 2.6),
        ("wiki-325k", 0.5, 0.4),
        ("delicious-200k", 0.55, 1.5),
        ("bibtex", 0.55, 1.5),
    ],
)
def test_propensities_of_the_repository(name, a, b):
    """A and B are those of the Extreme Classification repository (Jain et al. 2016)."""
    config = load_config(name, check_files=False)
    assert (config.eval.propensity_a, config.eval.propensity_b) == (a, b)


def test_quickstart_needs_no_file(tmp_path, monkeypatch):
    """The default is the quickstart, from any folder, and all its checks pass."""
    monkeypatch.chdir(tmp_path)
    config = load_config()
    assert config == load_config(DEFAULT)
    assert config.data.synth is not None


def test_a_file_wins_over_a_shipped_name(tmp_path, monkeypatch):
    """A file in the current folder that is called like a shipped configuration is the one meant."""
    monkeypatch.chdir(tmp_path)
    Path("mnist").write_text("data: {synth: {}}\n")
    assert find_config("mnist") == Path("mnist")
