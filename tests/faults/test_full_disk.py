"""Runs on a disk that is too small, or fills up while they train."""

from __future__ import annotations

import json

import pytest
from watching import Watcher

from distlsh.errors import ChildError, ResourceError
from distlsh.model.checkpoint import latest_checkpoint
from distlsh.runtime.launch import run
from tests.small_disk import fill, small_disk

MIB = 1 << 20
LONG = {"train": {"epochs": 6}, "checkpoint": {"interval_s": 0.2, "keep": 1}}


class Filler(Watcher):
    """Fills the disk after the first checkpoint; makes room again after so many saves have failed."""

    def __init__(self, disk, failures):
        super().__init__()
        self.disk, self.left = disk, failures

    def notice(self, notice):
        super().notice(notice)
        if notice.text.startswith("checkpoint ") and not self.failed and not (self.disk / "filler").exists():
            fill(self.disk)
        elif notice.text.startswith("no checkpoint was saved"):
            self.left -= 1
            if self.left == 0:
                (self.disk / "filler").unlink()

    @property
    def failed(self):
        return [one.text for one in self.notices if "no checkpoint was saved" in one.text]


class NoLogs(Watcher):
    """Has children write their logs where nothing can be written, by default on a full disk."""

    def __init__(self, where="/dev/full"):
        super().__init__()
        self.where = where

    def start(self, config, run_dir):
        super().start(config, run_dir)
        for role in ("worker-0", "worker-1", "rehasher"):
            log = self.run_dir / "logs" / f"{role}.log"
            log.parent.mkdir(exist_ok=True)
            log.symlink_to(self.where)


@pytest.mark.parametrize("where", ["/dev/full", "/proc/nowhere"], ids=["full", "cannot be opened"])
def test_children_work_on_where_their_logs_cannot_be_written(config, tmp_path, where):
    """Each writes lines as it starts, the rehasher before it answers: no one ends, tables are refreshed."""
    watcher = NoLogs(where)
    summary = run(config(run={"workers": 2}), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.worker_restarts == 0 and watcher.rehashes


def test_an_error_of_a_child_is_told_where_its_log_cannot_be_written(config, tmp_path, worker_runs):
    """Its traceback reaches the coordinator, which gives up at once."""
    worker_runs("    raise LookupError('no hat here')\n")
    watcher = NoLogs()
    with pytest.raises(ChildError, match="no hat here"):
        run(config(run={"workers": 2}), observer=watcher, run_dir=tmp_path / "run")
    assert not any("starting it again" in notice.text for notice in watcher.notices)


def test_a_disk_without_room_for_one_checkpoint_is_refused_before_the_start(config, tmp_path):
    """Nothing is trained; the error has the bytes, and says what to lower. No run directory is made."""
    with small_disk(tmp_path / "disk", 2 * MIB) as disk:
        with pytest.raises(ResourceError, match=r"are free, not enough for one.*run\.dir"):
            run(config(), run_dir=disk / "run")
        assert not (disk / "run").exists()


def test_a_disk_that_is_full_for_a_while_costs_a_run_nothing_but_checkpoints(config, tmp_path):
    """Saves in between fail with a warning; once there is room again, the run saves and completes."""
    with small_disk(tmp_path / "disk", 80 * MIB) as disk:
        watcher = Filler(disk, 2)
        summary = run(config(**LONG), observer=watcher, run_dir=disk / "run")
        assert summary.status == "completed" and len(watcher.failed) >= 2
        assert "free some space" in watcher.failed[0]
        found = latest_checkpoint(disk / "run")
        assert found.path.name == "final" and not found.warnings


def test_a_run_that_cannot_save_its_end_says_so_and_goes_on_from_the_last_checkpoint(config, tmp_path):
    """The error names the disk; with room again, --resume completes it."""
    with small_disk(tmp_path / "disk", 80 * MIB) as disk:
        watcher = Filler(disk, -1)
        with pytest.raises(ResourceError, match="free"):
            run(config(**LONG), observer=watcher, run_dir=disk / "run")
        found = latest_checkpoint(disk / "run")
        assert found.path.name.startswith("samples-") and not found.warnings
        (disk / "filler").unlink()
        summary = run(config(**LONG), resume=disk / "run")
        assert summary.status == "completed"
        assert json.loads((disk / "run" / "summary.json").read_text())["status"] == "completed"
