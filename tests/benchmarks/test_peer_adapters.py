from __future__ import annotations

import json
from pathlib import Path

import adapter
import numpy as np
import pytest
from comparison.peers import peers
from comparison.runner import ADAPTERS
from scipy.sparse import csr_matrix


@pytest.fixture
def job(tmp_path):
    return adapter.Job(tmp_path / "a", tmp_path / "b", 4, 9, 1, {}, tmp_path, 8, 0.0)


def test_every_peer_has_an_adapter_and_as_many_settings_as_the_others():
    """The search gives each peer the same number of trials, and each adapter exists."""
    every = peers("quickstart")
    assert {len(peer.candidates) for peer in every} == {5}
    assert all((ADAPTERS / f"run_{peer.adapter}.py").exists() for peer in every)
    assert all(peer.default not in peer.candidates for peer in every)


def test_the_best_of_a_row_of_scores_come_first():
    """Sparse scores become five labels a row, best first, -1 where there are fewer."""
    scores = csr_matrix(np.array([[0, 0.5, 0, 2.0], [0, 0, 0, 0]]))
    assert adapter.top_of_scores(scores).tolist() == [[3, 1, -1, -1, -1], [-1] * 5]


def test_lists_of_any_length_become_five_places(job, capsys, monkeypatch):
    """Short lists are filled up with -1, long ones cut, and the file is announced."""
    monkeypatch.setattr(adapter, "_events", __import__("sys").stdout)
    path = adapter.save_lists(job, "tree", [[4], (1, 2, 3, 4, 5, 6), []], mode="tree", seconds=1.0)
    assert np.load(path).tolist() == [[4, -1, -1, -1, -1], [1, 2, 3, 4, 5], [-1] * 5]
    event = json.loads(capsys.readouterr().out)
    assert (event["event"], event["rows"], Path(event["path"])) == ("predicted", 3, path)


def test_a_phase_is_announced_with_its_notes(capsys, monkeypatch):
    """A phase prints its begin and its end, with seconds and what was noted in it."""
    monkeypatch.setattr(adapter, "_events", __import__("sys").stdout)
    with adapter.phase("train") as notes:
        notes["samples"] = 3
    begin, end = map(json.loads, capsys.readouterr().out.splitlines())
    assert begin == {"event": "begin", "phase": "train"}
    assert (end["phase"], end["samples"]) == ("train", 3)
    assert end["seconds"] >= 0
