"""Networks that are not normalised, with ReLU and bias: the geometry that is hard on hashes of angles."""

from __future__ import annotations

from watching import Watcher

from distlsh.data.opening import open_pair
from distlsh.inference import Model
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


def test_a_transform_finds_more_of_the_top_labels_among_no_more_candidates(config, tmp_path):
    """Norms and biases decide such a network's logits; angles alone do not see them.

    A transform's codes are finer, so it may have three times the tables.  The saved model hashes alike.
    """
    found = {}
    for transform, n_tables in (("none", 16), ("simple", 48)):
        settings = config(
            data={"synth": {"n_train": 6000, "n_test": 800, "n_features": 2000, "n_labels": 1500, "seed": 3,
                            "exponent": 1.0}},
            model=PLAIN,
            lsh={"transform": transform, "n_tables": n_tables},
            train={"lr": 0.005, "deterministic": True},
            run={"workers": 1},
        )  # fmt: skip
        watcher = Watcher()
        run(settings, observer=watcher, run_dir=tmp_path / transform)
        found[transform] = watcher.evaluations[-1]
    none, simple = found["none"], found["simple"]
    assert simple.retrieved_mean < 1.1 * none.retrieved_mean
    assert simple.table_recall_at_1 > none.table_recall_at_1 + 0.1
    again = Model.load(tmp_path / "simple").evaluate(open_pair(settings.data)[1])
    assert again.table_recall_at_1 == simple.table_recall_at_1
    assert again.retrieved_mean == simple.retrieved_mean
