from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from comparison import runner
from comparison.prepare import Pair
from comparison.runner import Limits, available, gather, run

LIMITS = Limits(cores=(min(os.sched_getaffinity(0)),), memory_every_s=0.02)
ADAPTER = """
import json, os, sys
import numpy as np
job = json.load(open(sys.argv[1]))
def emit(**fields): print(json.dumps(fields), flush=True)
emit(event="version", version="7")
emit(event="begin", phase="train")
held = np.ones(job["setting"]["megabytes"] << 17)
__import__("time").sleep(0.3)
got = {"cores": len(os.sched_getaffinity(0)), "omp": os.environ["OMP_NUM_THREADS"]}
emit(event="end", phase="train", seconds=0.5, **got)
np.save(job["work"] + "/p.npy", np.array([[2, 0, 0, 0, 0]], np.int32))
emit(event="predicted", path=job["work"] + "/p.npy", mode="tree", seconds=0.25, rows=1)
if job["setting"].get("die"): sys.exit("no such thing")
"""


@pytest.fixture
def pair(tmp_path):
    np.save(tmp_path / "t.label_indptr.npy", np.array([0, 1]))
    np.save(tmp_path / "t.labels.npy", np.array([2]))
    return Pair(str(tmp_path / "t"), str(tmp_path / "t"), 3, 3, 1, 1)


@pytest.fixture
def adapter(tmp_path, monkeypatch):
    (tmp_path / "run_fake.py").write_text(ADAPTER)
    monkeypatch.setattr(runner, "ADAPTERS", tmp_path)


def test_a_peer_runs_on_the_given_cores_and_its_events_are_gathered(pair, adapter, tmp_path):
    """An adapter's process gets the cores and thread limits, and what it says becomes a result."""
    found = run(sys.executable, "fake", pair, {"megabytes": 1}, LIMITS, tmp_path / "work")
    assert found["version"] == "7"
    assert found["train_s"] == 0.5
    assert found["phases"]["train"] == {"seconds": 0.5, "cores": 1, "omp": "1"}
    assert found["predictions"]["tree"]["p_at_1"] == 1.0
    assert found["predictions"]["tree"]["rows_per_s"] == 4.0
    assert "error" not in found


def test_memory_is_attributed_to_the_phase_that_took_it(pair, adapter, tmp_path):
    """The peak of a phase, and of the whole, holds what the process allocated in it."""
    found = run(sys.executable, "fake", pair, {"megabytes": 200}, LIMITS, tmp_path / "work")
    assert found["peak_memory_bytes"]["train"] > 200 << 20
    assert found["peak_memory_bytes"]["whole"] >= found["peak_memory_bytes"]["train"]


def test_a_peer_that_dies_leaves_its_last_words(pair, adapter, tmp_path):
    """A failed adapter is a result with its exit code and message, not an exception."""
    found = run(sys.executable, "fake", pair, {"megabytes": 1, "die": 1}, LIMITS, tmp_path / "work")
    assert found["error"] == "exit code 1: no such thing"


def test_an_adapter_ends_with_the_command_that_is_terminated(pair, tmp_path):
    """SIGTERM to the comparison ends the peer's process too, and the next signal is handled as before."""
    (tmp_path / "run_fake.py").write_text("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    code = f"""
import os, signal, sys, threading
sys.path.insert(0, {str(Path(runner.__file__).parents[1])!r})
from comparison import runner
from comparison.prepare import Pair
runner.json.loads = lambda line: print(line, end="", flush=True) or os.kill(os.getpid(), signal.SIGTERM)
runner.ADAPTERS = runner.Path({str(tmp_path)!r})
pair = Pair({pair.train!r}, {pair.test!r}, 3, 3, 1, 1)
work = runner.Path({str(tmp_path / "w")!r})
runner.run(sys.executable, "fake", pair, {{}}, runner.Limits(tuple(os.sched_getaffinity(0))), work)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert not psutil.pid_exists(int(done.stdout))


def test_a_missing_module_or_interpreter_is_named():
    """What cannot be imported is told before anything runs."""
    assert available(sys.executable, "json") == ""
    assert "no_such_peer" in available(sys.executable, "no_such_peer")
    assert "/no/such/python" in available("/no/such/python", "json")


def test_points_in_training_become_a_curve(pair, tmp_path):
    """Points carry precision of their own or are computed from the predictions they name."""
    np.save(tmp_path / "q.npy", np.array([[1, 2, 0, -1, -1]], np.int32))
    events = [
        {"event": "point", "path": str(tmp_path / "q.npy"), "train_s": 1.0, "samples": 5},
        {"event": "point", "train_s": 2.0, "samples": 9, "p_at_1": 0.5},
    ]
    first, second = gather(events, pair.test)["curve"]
    assert (first["train_s"], first["p_at_1"], first["p_at_3"]) == (1.0, 0.0, pytest.approx(1 / 3))
    assert second == {"train_s": 2.0, "samples": 9, "p_at_1": 0.5}


def test_a_peer_that_takes_too_long_is_ended_with_its_children(pair, tmp_path, monkeypatch):
    """After the wall limit the whole tree of processes is gone, and the result says so."""
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    (tmp_path / "run_slow.py").write_text(script)
    monkeypatch.setattr(runner, "ADAPTERS", tmp_path)
    found = run(sys.executable, "slow", pair, {}, replace(LIMITS, wall_limit_s=1.5), tmp_path / "work")
    assert found["error"] == "not done within 2 s"
