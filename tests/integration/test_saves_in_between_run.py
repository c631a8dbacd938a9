"""Checkpoints of a run that trains on meanwhile, and a run that goes on from one of them."""

from __future__ import annotations

import shutil

from watching import Watcher

from distlsh.model.checkpoint import checkpoints, read_checkpoint
from distlsh.runtime.launch import run

OFTEN = {
    "train": {"epochs": 8},
    "pretrain": {"epochs": 2, "batch_size": 128},
    "checkpoint": {"interval_s": 0.05, "keep": 2},
    "run": {"visits": True},
}


class Copier(Watcher):
    """Keeps a copy of the run directory as it was when this checkpoint of the training was written."""

    def __init__(self, to, number):
        super().__init__()
        self.to, self.number = to, number

    def notice(self, notice):
        super().notice(notice)
        if notice.text.startswith("checkpoint samples-"):
            self.number -= 1
            if self.number == 0:
                shutil.copytree(self.run_dir, self.to)


def test_a_run_saves_without_a_pause_and_goes_on_from_such_a_checkpoint_without_losing_a_sample(
    config, tmp_path
):
    """No report shows training held for a save; resumed, every instance is trained in every epoch."""
    watcher = Copier(tmp_path / "copy", 2)
    summary = run(config(**OFTEN), observer=watcher, run_dir=tmp_path / "run")
    said = [one.text for one in watcher.notices]
    assert summary.status == "completed" and sum(text.startswith("checkpoint samples-") for text in said) >= 2
    assert summary.save_s > 0
    held = [one for one in watcher.reports if one.phase == "checkpoint"]
    assert all(one.samples == 8 * 6000 for one in held)

    newest = checkpoints(tmp_path / "copy" / "checkpoints")[0]
    position = read_checkpoint(newest)[1]["position"]
    assert position["stage"] == "train" and 0 < position["samples"] < 8 * 6000
    resumed = run(config(**OFTEN), resume=tmp_path / "copy")  # counts visits: a lost sample is an error
    assert resumed.status == "completed" and resumed.samples == 8 * 6000
