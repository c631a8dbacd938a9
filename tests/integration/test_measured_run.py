"""What a run measures of itself: cores by role, rehashing, conflicts, stages."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import distlsh

LATER = {"eval": {"n_rows": 0}, "train": {"epochs": 1, "chunk_size": 256}}


def test_a_pinned_run_with_conflicts_counted_says_what_it_cost(config, tmp_path):
    """Cores of each role, stages, rehash share, staleness and conflicts are in the summary and its file."""
    before = os.sched_getaffinity(0)
    summary = distlsh.train(config(**LATER, run={"pin": True, "conflicts": True}), run_dir=tmp_path / "run")
    assert os.sched_getaffinity(0) == before
    assert set(summary.cpu_s) == {"workers", "rehasher", "coordinator"}
    assert {"init", "train", "rehash"} <= set(summary.stage_s)
    assert summary.rehash_s > 0 and summary.rehash_share > 0
    assert 0 < summary.table_stale_mean <= 1
    assert 0 <= summary.conflict_rate < 1  # 0 where the workers had to take turns on a busy core
    timeline = list(summary.start_timeline)
    assert timeline.index("memory") < timeline.index("first_task") < timeline.index("tables")
    assert timeline[-1] == "first_step"
    written = json.loads((Path(summary.run_dir) / "summary.json").read_text())
    assert written["conflict_rate"] == pytest.approx(summary.conflict_rate)


def test_one_worker_meets_nobody_and_by_default_nobody_looks(config, tmp_path):
    """A worker alone has a conflict rate of 0; without run.conflicts there is none."""
    one = {"workers": 1, "conflicts": True}
    assert distlsh.train(config(**LATER, run=one), run_dir=tmp_path / "one").conflict_rate == 0
    assert distlsh.train(config(**LATER), run_dir=tmp_path / "two").conflict_rate is None
