"""kill -9 of the coordinator: its children end, and nothing of the run stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from distlsh.shm.names import SEGMENT_DIR, socket_root

SETTINGS = [
    "data.synth.n_train=40000",
    "data.synth.n_test=500",
    "data.synth.n_features=2000",
    "data.synth.n_labels=1500",
    "model.hidden=[64]",
    "lsh.n_active=96",
    "train.epochs=50",
    "eval.n_rows=0",
    "run.report_s=0.1",
]


def until(condition, what, limit_s=90.0):
    end = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return value


def training(metrics: Path) -> bool:
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return bool(lines) and json.loads(lines[-1])["samples"] > 0


CHOSEN = ["lsh.auto.recall=0.5", "lsh.auto.max_bytes=4194304"]


@pytest.fixture(params=[[], CHOSEN], ids=["given", "chosen"])
def started(tmp_path, request):
    """A run of two workers in a process of its own, in the middle of training.

    Where the run chooses its hash functions, the tables have a segment of their own.
    """
    command = [sys.executable, "-m", "distlsh.cli.launch", "--config", "quickstart", "--workers", "2"]
    command += ["--run-dir", str(tmp_path / "run"), "--set", f"data.cache_dir={tmp_path}"]
    for setting in SETTINGS + request.param:
        command += ["--set", setting]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: training(tmp_path / "run" / "metrics.jsonl"), "the run never trains")
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(list(SEGMENT_DIR.glob(f"distlsh-{process.pid}-*"))) == (2 if request.param else 1)
    yield process, children
    if process.poll() is None:
        process.kill()
        process.wait()


def leftovers(pid: int) -> list[Path]:
    return [p for d in {SEGMENT_DIR, socket_root()} for p in d.glob(f"distlsh-{pid}-*")]


def test_a_killed_coordinator_leaves_no_process_segment_or_socket(started):
    """The children notice, remove segment and socket folder, and exit."""
    process, children = started
    assert leftovers(process.pid) and len(children) >= 4  # fork server, 2 workers, rehasher
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not any(c.is_running() for c in children), "a child outlives the run", 10)
    until(lambda: not leftovers(process.pid), "a segment or socket folder outlives the run", 10)


def test_sigterm_saves_and_exits_130(started, tmp_path):
    """SIGTERM ends the run with its state saved: exit code 130, and a whole checkpoint."""
    from distlsh.model.checkpoint import latest_checkpoint

    process, _ = started
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert latest_checkpoint(tmp_path / "run").path.is_dir()
