"""Run directories that others can write."""

from __future__ import annotations

import os

import pytest

from distlsh.errors import UsageError
from distlsh.runtime.run_dir import RunDir


@pytest.mark.usefixtures("in_company")
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
@pytest.mark.parametrize("inner", [".", "checkpoints"])
def test_a_run_directory_that_others_write_is_refused(tmp_path, mode, inner):
    """To begin and to resume: others could put links and checkpoints there."""
    (tmp_path / "run" / inner).mkdir(parents=True)
    (tmp_path / "run" / inner).chmod(mode)
    with pytest.raises(UsageError, match=r"can be written by .* chmod go-w"):
        RunDir.create(tmp_path / "run", "x")
    (tmp_path / "run/config.yaml").write_text("{}")
    with pytest.raises(UsageError, match=r"can be written by .* chmod go-w"):
        RunDir.open(tmp_path / "run")
    (tmp_path / "run" / inner).chmod(0o755)
    assert RunDir.open(tmp_path / "run").path == tmp_path / "run"


@pytest.mark.usefixtures("root")
def test_another_users_run_directory_is_refused(tmp_path):
    """Whatever its mode."""
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", 65534, 65534)
    with pytest.raises(UsageError, match="belongs to user 65534"):
        RunDir.create(tmp_path / "run", "x")
