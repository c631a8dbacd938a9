"""The end of a run under load: quick, and nothing stays."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from running import Run

from distlsh.model.checkpoint import latest_checkpoint

LONG_TASKS = ["train.chunk_size=20000", "model.hidden=[256]", "lsh.n_active=512"]
PRETRAINING = ["pretrain.epochs=20", "pretrain.pool=16384", "pretrain.partners=16"]
EVALUATING = ["eval.n_rows=2000", "eval.interval=1", "data.synth.n_labels=20000"]

MOMENTS = {
    "training": (LONG_TASKS, lambda run: run.samples() > 0),
    "pretraining": (PRETRAINING, lambda run: run.phase() == "pretrain" and run.last()["samples_per_s"] > 0),
    "evaluating": (EVALUATING, lambda run: run.phase() == "evaluate"),
    "starting": ([], lambda run: len(run.descendants()) >= 3),
    "importing": ([], lambda run: len(run.descendants()) == 1),
}


LIMIT_S = 2.0
"""What is promised of a second signal, and of a first one but for the checkpoint, which has as long again."""


def ended(run, codes, processes, limit_s=LIMIT_S):
    """Wait for the end; it must be within the limit, with one of these exit codes, and leave nothing."""
    began = time.monotonic()
    assert run.process.wait(60) in codes, run.out.read_text()[-2000:]
    assert time.monotonic() - began < limit_s
    assert run.left_behind(processes) == []


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_second_signal_ends_at_once_and_leaves_nothing(tmp_path, moment):
    """Workers in the middle of long tasks, a server that imports: all are gone with the command."""
    settings, there = MOMENTS[moment]
    with Run(tmp_path, *settings) as run:
        run.until(lambda: there(run))
        processes = run.descendants()
        run.process.send_signal(signal.SIGTERM)
        time.sleep(0.4)
        run.process.send_signal(signal.SIGTERM)
        ended(run, (1, 130), processes)  # 130: the first one was quicker than the second


def test_a_second_signal_is_heard_where_the_first_one_waits(tmp_path):
    """The worker of a deterministic run would end its chunk first, many seconds; the second does not wait."""
    settings = [
        "train.deterministic=true",
        "train.chunk_size=40000",
        "model.hidden=[1024]",
        "lsh.n_active=1024",
    ]
    with Run(tmp_path, *settings, workers=1) as run:
        run.until(lambda: run.phase() == "train")
        time.sleep(0.2)
        processes = run.descendants()
        run.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            run.process.wait(LIMIT_S)
        run.process.send_signal(signal.SIGTERM)
        ended(run, (1,), processes)


@pytest.mark.parametrize(
    "number",
    [signal.SIGHUP, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGTERM, signal.SIGINT))],
)
def test_a_first_signal_saves_and_leaves_nothing(tmp_path, number):
    """A closed terminal is like SIGTERM, and twice within a moment is once: exit 130, a whole checkpoint."""
    with Run(tmp_path, *LONG_TASKS) as run:
        processes = run.until_training()
        run.process.send_signal(number)
        time.sleep(0.01)
        run.process.send_signal(number)
        ended(run, (130,), processes, 2 * LIMIT_S)
        assert latest_checkpoint(run.dir).path.is_dir()


@pytest.mark.slow
def test_a_completed_run_leaves_nothing_and_needs_no_reader(tmp_path):
    """A pipe that is closed, as by `head`, costs the output and not the run, at whose end all is gone."""
    read, write = os.pipe()
    with os.fdopen(write, "w") as out, Run(tmp_path, "train.epochs=2", out=out) as run:
        os.close(read)
        processes = run.until_training()
        assert run.process.wait(60) == 0
        assert run.left_behind(processes) == []
    assert (run.dir / "summary.json").is_file()
