"""Networks that are not normalised, with ReLU and bias: the geometry that is hard on hashes of angles."""

from __future__ import annotations

from watching import Watcher

from distlsh.runtime.launch import run

PLAIN = {"hidden": [64], "activation": "relu", "normalize": False, "bias": True}


def test_tables_keep_finding_rows_that_all_move_together(config, tmp_path):
    """Negatives push all rows of such a network along the mean hidden vector; the center follows.

    Left where it was at the start, the tables of this run find the top label in 1 of 500 cases.
    """
    watcher = Watcher()
    settings = config(model=PLAIN, run={"workers": 1})
    summary = run(settings, observer=watcher, run_dir=tmp_path / "run")
    assert sum(report.full for report in watcher.rehashes) > 1
    assert summary.table_recall_at_1 > 0.3
