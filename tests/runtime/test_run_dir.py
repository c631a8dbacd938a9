"""Run directories that others can write."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from distlsh.errors import ResourceError, UsageError
from distlsh.runtime.run_dir import RunDir
from tests.small_disk import small_disk


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


def test_a_folder_above_that_others_can_rename_in_is_refused(tmp_path):
    """They could put another in its place; sticky folders such as /tmp let nobody do that."""
    above = tmp_path / "shared"
    above.mkdir()
    above.chmod(0o777)
    for made in ("run", "runs/run"):
        with pytest.raises(UsageError, match=r"shared, where every user can.*run\.dir"):
            RunDir(above / made).check_own()  # before it is there
    with pytest.raises(UsageError, match="can put another in its place"):
        RunDir.create(above / "runs" / "run", "x")
    for mode in (0o1777, 0o2775):  # a project's folder: whoever trains there trusts its group
        above.chmod(mode)
        path = above / f"runs-{mode:o}" / "run"
        assert RunDir.create(path, "x").path == path


def test_a_new_run_directory_is_this_users_alone(tmp_path, monkeypatch):
    """Under the usual umask; one that was made beforehand keeps its mode, and names are never shared."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given").mkdir(mode=0o755)
    before = os.umask(0o022)
    try:
        made = [RunDir.create(path, "x").path for path in (None, None, tmp_path / "new", tmp_path / "given")]
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in made] == [0o700, 0o700, 0o700, 0o755]
    assert len(set(made)) == 4


@pytest.mark.parametrize("path", ["/proc/x", "/dev/null/x"])
def test_a_directory_that_cannot_be_made_is_a_clear_error(path):
    """It names the path, what the system says, and the setting."""
    with pytest.raises(UsageError, match=rf"{path}: no run can be kept there \(.*run\.dir"):
        RunDir.create(Path(path), "x")


def test_a_disk_that_fills_leaves_no_half_configuration(tmp_path):
    """The error says that there is no room, and the directory can be used again."""
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        run_dir = RunDir.create(disk / "run", "x")
        (disk / "full").write_bytes(bytes(shutil.disk_usage(disk).free))
        with pytest.raises(ResourceError, match=r"no run can be kept.*free some space"):
            run_dir.begin("a" * (1 << 16))
        assert sorted(path.name for path in run_dir.path.iterdir()) == ["checkpoints", "logs"]
        (disk / "full").unlink()
        run_dir.begin("a: 1\n")
        assert run_dir.config.read_text() == "a: 1\n"
        with pytest.raises(UsageError, match="holds a run already"):
            run_dir.begin("a: 2\n")
