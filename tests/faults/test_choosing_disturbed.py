"""Deaths and signals while a run chooses its hash functions, or puts new tables in the old ones' place."""

from __future__ import annotations

import os
import signal
import time

import pytest
from watching import Watcher, child, kill

from distlsh.errors import DistlshError, RunInterrupted
from distlsh.model.checkpoint import latest_checkpoint, read_checkpoint
from distlsh.runtime.launch import run
from distlsh.shm.names import SEGMENT_DIR

AUTO = {"recall": 0.7, "n_active": 150, "max_bytes": 4 << 20}


class InPhase(Watcher):
    """Does something at the first report of a phase after some samples."""

    def __init__(self, phase, do, samples=0):
        super().__init__()
        self.phase, self.act, self.samples = phase, do, samples

    def report(self, report):
        super().report(report)
        if self.act is not None and report.phase == self.phase and report.samples >= self.samples:
            act, self.act = self.act, None
            act(self)


def chosen(watcher):
    return sum("chose " in notice.text for notice in watcher.notices)


def segments():
    return sorted(path.name for path in SEGMENT_DIR.glob(f"distlsh-{os.getpid()}-*-tables-*"))


@pytest.mark.slow
def test_a_rehasher_killed_while_it_chooses_is_replaced_and_chooses(config, tmp_path):
    """The choice begins anew in the next rehasher; the run completes with one choice made."""
    before = []

    def strike(watcher):
        before.extend([chosen(watcher), len(segments())])
        kill("rehasher")(watcher)

    watcher = InPhase("tuning", strike)
    summary = run(config(lsh={"auto": AUTO}), observer=watcher, run_dir=tmp_path / "run")
    assert before == [0, 0]
    assert summary.status == "completed" and summary.worker_restarts == 1
    assert summary.tunings == chosen(watcher) >= 1 and summary.samples == 12_000
    assert summary.p_at_1 > 0.4 and summary.table_recall_at_10 > 0.5


def drifting(config):
    """Return a run whose tables nobody refreshes: it chooses again in the middle of the training."""
    return config(
        lsh={"auto": {**AUTO, "recall": 0.3}},
        train={"lr": 0.1},
        eval={"interval": 2000},
        rehash={"initial_interval": 1_000_000},
        run={
            "heartbeat_s": 10.0,
            "heartbeat_timeout_s": 40.0,
        },  # who is stopped meanwhile is not replaced
    )


@pytest.mark.slow
@pytest.mark.parametrize("role", ["worker-1", "rehasher"])
def test_a_child_killed_while_tables_are_swapped_finds_the_new_ones(config, tmp_path, role):
    """The successor of a child that died when a second choice was made uses the new tables."""
    swapped = []

    class Swap(InPhase):
        def notice(self, notice):
            super().notice(notice)
            if chosen(self) == 2 and not swapped:  # the old segment is gone, the new tables are empty
                swapped.extend(segments())
                child(role).kill()

    def hold(watcher):
        if role != "rehasher":  # who has to choose first
            kill(role, signal.SIGSTOP)(watcher)

    watcher = Swap("tuning", hold, samples=1)
    summary = run(drifting(config), observer=watcher, run_dir=tmp_path / "run")
    assert len(swapped) == 1 and "-tables-2-" in swapped[0]
    assert summary.status == "completed" and summary.worker_restarts == 1
    assert summary.samples == 12_000 and summary.tunings == chosen(watcher) >= 2
    assert not segments()


@pytest.mark.slow
def test_ctrl_c_while_choosing_saves_the_tables_before_and_chooses_when_it_goes_on(config, tmp_path):
    """SIGINT in the second choice waits for none: the first one is saved; resumed, the run chooses."""
    watcher = InPhase("tuning", lambda _: os.kill(os.getpid(), signal.SIGINT), samples=1)
    with pytest.raises(RunInterrupted):
        run(drifting(config), observer=watcher, run_dir=tmp_path / "run")
    arrays, state = read_checkpoint(latest_checkpoint(tmp_path / "run").path)
    assert chosen(watcher) == 1 and state["chosen"] and arrays["tables.sizes"].any()
    position = state["position"]
    assert 0 < position["samples"] < 12_000 and position["tuning"]["n"] == 1 and position["tuning"]["due"]
    resumed = Watcher()
    summary = run(drifting(config), observer=resumed, resume=tmp_path / "run")
    assert summary.status == "completed" and summary.samples == 12_000
    assert summary.tunings == 1 + chosen(resumed) >= 2 and not segments()


def test_a_second_ctrl_c_while_choosing_ends_at_once_and_clean(config, tmp_path):
    """Two SIGINTs during a choice end the run; nothing is left (see the leak check of every test)."""

    def twice(watcher):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.4)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(DistlshError, match="stopped at once"):
        run(config(lsh={"auto": AUTO}), observer=InPhase("tuning", twice), run_dir=tmp_path / "run")
    assert not segments()
