"""The commands on a real, small run: train, evaluate, predict, plot, interrupt, resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from distlsh.cli.main import main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SMALL = {
    "data.synth": "{n_train: 2000, n_test: 300, n_features: 400, n_labels: 200, n_nonzeros: 12}",
    "model.hidden": "[16]",
    "lsh.n_tables": "4",
    "lsh.dim": "8",
    "lsh.n_active": "32",
    "train.epochs": "1",
    "train.chunk_size": "256",
    "rehash.initial_interval": "1000",
    "eval.n_rows": "100",
}


def launch(folder, *args, **changes):
    settings = [
        option for key, value in {**SMALL, **changes}.items() for option in ("--set", f"{key}={value}")
    ]
    return [sys.executable, "-m", "distlsh.cli.launch", "--run-dir", str(folder / "run"), *settings, *args]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the folder of a finished run, what it printed, and a file of its test data."""
    folder = tmp_path_factory.mktemp("trained")
    done = subprocess.run(
        launch(folder), capture_output=True, text=True, env=ENVIRONMENT, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    sizes = [
        "--n-train",
        "2000",
        "--n-test",
        "300",
        "--n-features",
        "400",
        "--n-labels",
        "200",
        "--n-nonzeros",
        "12",
    ]
    assert main(["data", "synth", str(folder / "d"), *sizes]) == 0
    return folder, done.stdout, folder / "d.test.txt"


def test_a_run_prints_lines_and_the_summary(trained):
    """Without a terminal: plain lines, the table with the baseline, where things lie, what comes next."""
    folder, printed, _ = trained
    for part in (
        "evaluation (final, 300 rows, 2,000 samples in):",
        "Run completed",
        "P@1 of the popularity baseline",
        f"in {folder / 'run'}\n",
        "summary.json ",
        f"distlsh evaluate {folder / 'run'} --data FILE",
    ):
        assert part in printed
    assert "\x1b" not in printed


def test_evaluate_agrees_with_the_run(trained, capsys):
    """`distlsh evaluate` on the test data gives the run's own final figures."""
    folder, _, data = trained
    assert main(["evaluate", str(folder / "run"), "--data", str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    summary = json.loads((folder / "run" / "summary.json").read_text())
    for name in ("p_at_1", "p_at_5", "ndcg_at_5", "psp_at_1", "lsh_p_at_1"):
        assert found[name] == pytest.approx(summary[name], abs=1e-6)


def test_evaluate_prints_exact_and_lsh_side_by_side(trained, capsys):
    """The table has a column for each way of inference."""
    folder, _, data = trained
    assert main(["evaluate", str(folder / "run"), "--data", str(data)]) == 0
    text = capsys.readouterr().out
    for part in (
        "exact",
        "LSH",
        "P@1",
        "nDCG@3",
        "PSP@5",
        "recall of the exact top 10",
        "multiply-adds of exact",
        "ids that no bucket had room for",
    ):
        assert part in text


@pytest.mark.parametrize("method", ["exact", "lsh"])
def test_predict_writes_the_best_labels(trained, tmp_path, capsys, method):
    """A line a row: K labels, best first, none twice."""
    folder, _, data = trained
    out = tmp_path / "p.txt"
    args = ["--data", str(data), "--k", "4", "--method", method, "--out", str(out)]
    assert main(["predict", str(folder / "run"), *args]) == 0
    assert capsys.readouterr().out == f"300 rows -> {out}\n"
    rows = [[pair.split(":") for pair in line.split()] for line in out.read_text().splitlines()]
    assert len(rows) == 300
    for row in rows:
        scores = np.array([float(score) for _, score in row])
        assert len({label for label, _ in row}) == len(row) <= 4
        assert (np.diff(scores) <= 0).all()


def test_a_second_run_in_the_same_directory_is_refused(trained):
    """A run is never overwritten: exit code 2, and what to do instead."""
    folder, _, _ = trained
    done = subprocess.run(
        launch(folder, "--quiet"), capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "holds a run already" in done.stderr
    assert "Traceback" not in done.stderr


def test_info_of_the_data(trained, capsys):
    """`distlsh data info` prints what the file is, and --json the same for programs."""
    _, _, data = trained
    assert main(["data", "info", str(data)]) == 0
    assert "instances" in capsys.readouterr().out
    assert main(["data", "info", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_rows"] == 300


def test_catalogue_is_listed(capsys):
    """`distlsh data fetch` without a name lists what can be fetched."""
    assert main(["data", "fetch"]) == 0
    assert "amazon-670k" in capsys.readouterr().out


def test_doctor_looks_at_this_machine(capsys):
    """`distlsh doctor` reports versions, cores, memory and limits; this machine can run."""
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for part in ("numba", "cores", "RAM", "/dev/shm", "huge pages", "open files", "leftovers"):
        assert part in text


@pytest.mark.slow
def test_interrupt_is_130_and_resume_is_0(tmp_path):
    """SIGINT saves and exits 130 with the command to go on; that command completes the run."""
    run = subprocess.Popen(
        launch(tmp_path, **{"train.epochs": "100"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (metrics.exists() and '"phase":"train"' in metrics.read_text()):
        assert run.poll() is None
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    printed, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert "Run interrupted" in printed
    assert errors.count(f"distlsh-launch --resume {tmp_path / 'run'}") == 1
    again = [
        sys.executable,
        "-m",
        "distlsh.cli.launch",
        "--resume",
        str(tmp_path / "run"),
        "--set",
        "run.report_s=0.5",
    ]
    done = subprocess.run(again, capture_output=True, text=True, env=ENVIRONMENT, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    assert "Run completed" in done.stdout
