"""Paths of data: variables, home, and what they are relative to."""

from __future__ import annotations

import pytest

from distlsh.config.load import load_config
from distlsh.errors import ConfigError


@pytest.fixture
def folders(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    (there / "c.yaml").write_text("data:\n  train: x.txt\n")
    return here, there


def test_current_folder_wins(folders):
    """A relative file is looked for in the current folder first."""
    here, there = folders
    (here / "x.txt").touch()
    (there / "x.txt").touch()
    assert load_config(there / "c.yaml").data.train == str(here / "x.txt")


def test_folder_of_the_config_comes_second(folders):
    """A file that lies beside its configuration is found from anywhere."""
    _, there = folders
    (there / "x.txt").touch()
    assert load_config(there / "c.yaml").data.train == str(there / "x.txt")


def test_missing_file_is_named_with_key_and_line(folders):
    """A data file that is not there is an error before anything starts."""
    here, there = folders
    with pytest.raises(ConfigError) as caught:
        load_config(there / "c.yaml")
    assert (
        str(caught.value)
        == f"{there}/c.yaml, line 2: data.train: no such file: x.txt (current folder: {here})"
    )


def test_home_and_variables(folders, monkeypatch):
    """~ and ${NAME} are expanded in paths."""
    _, there = folders
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/data")
    config = load_config(
        there / "c.yaml", ["data.train=${DATA}/x", "data.cache_dir=~/cache", "run.dir=~/r"], check_files=False
    )
    assert (config.data.train, config.data.cache_dir, config.run.dir) == (
        "/data/x",
        "/home/me/cache",
        "/home/me/r",
    )


def test_unset_variable(folders, monkeypatch):
    """A variable that is not set is named."""
    _, there = folders
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    with pytest.raises(ConfigError) as caught:
        load_config(there / "c.yaml", ["data.train=${NOT_SET_ANYWHERE}/x"])
    assert "data.train: the environment variable NOT_SET_ANYWHERE is not set" in str(caught.value)
