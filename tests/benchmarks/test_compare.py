from __future__ import annotations

import json
import subprocess
import sys

import compare
import pytest


@pytest.fixture
def files(tmp_path):
    from distlsh.cli.main import main

    sizes = ["--n-train", "1000", "--n-test", "200", "--n-features", "300", "--n-labels", "600"]
    assert main(["data", "synth", str(tmp_path / "t"), *sizes]) == 0
    return ["--train", str(tmp_path / "t.train.txt"), "--test", str(tmp_path / "t.test.txt")]


@pytest.mark.slow
def test_distlsh_alone_is_compared_on_generated_data(files, tmp_path):
    """One command trains by distlsh-launch, predicts both ways, and writes results and picture."""
    out = ["--out", str(tmp_path / "out"), "--results", str(tmp_path / "results")]
    small = ["--quick", "--threads", "1", "--single-rows", "10", "--config", "quickstart", "--name", "tiny"]
    missing = ["--only", "distlsh,pecos", "--python", "pecos=/no/such/python"]
    command = [sys.executable, compare.__file__, *files, *out, *small, *missing]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    written = json.loads((tmp_path / "results" / "peers-tiny-quick.json").read_text())
    assert (tmp_path / "results" / "peers-tiny-quick.svg").exists()
    assert "/no/such/python" in written["left_out"]["pecos"]
    (result,) = written["results"]
    assert set(result["predictions"]) == {"exact", "lsh"}
    assert result["predictions"]["exact"]["p_at_1"] > 0.1
    assert result["phases"]["train"]["samples"] == 2 * written["data"]["train_rows"]
    assert "pecos: left out" in run.stdout


def test_unknown_peers_are_refused(tmp_path):
    """A peer that is not known is an error that lists those that are."""
    with pytest.raises(SystemExit, match=r"found nonesuch, expected some of distlsh, pecos"):
        compare.main(["--train", "a", "--test", "b", "--only", "nonesuch"])


def test_a_plan_runs_nothing(tmp_path, capsys):
    """--plan prints a line for each peer and setting, without reading a file."""
    compare.main(["--train", "a", "--test", "b", "--only", "pecos", "--plan", "--out", str(tmp_path)])
    assert capsys.readouterr().out.count("pecos") == 2
    assert list(tmp_path.iterdir()) == []
