"""What differs between a checkpoint and the run that would go on with it, in words."""

from __future__ import annotations

import pytest

from distlsh.runtime.differences import differences, in_short


@pytest.mark.parametrize(
    "what, saved, now, lines",
    [
        ("config.train", {"lr": 0.1}, {"lr": 0.2}, ["train.lr: 0.1 in the checkpoint, 0.2 now"]),
        (
            "config.lsh",
            {"hidden": {"pool": 2, "choice": "tables"}, "auto": None},
            {"hidden": {"pool": 4, "choice": "exact"}, "auto": {"k": 1}},
            [
                "lsh.auto: none in the checkpoint, {'k': 1} now",
                "lsh.hidden.choice: tables in the checkpoint, exact now",
                "lsh.hidden.pool: 2 in the checkpoint, 4 now",
            ],
        ),
        (
            "model",
            {"hidden": [64], "n_labels": 1500, "bias": False},
            {"hidden": [64, 32], "n_labels": 220084, "bias": True},
            [
                "network bias: False in the checkpoint, True now",
                "network hidden: [64] in the checkpoint, [64, 32] now",
                "network n_labels: 1,500 in the checkpoint, 220,084 now",
            ],
        ),
        ("lsh", None, {"n_tables": 4}, ["hash functions: none in the checkpoint, {'n_tables': 4} now"]),
        (
            "hidden_lsh",
            {"0": {"n_tables": 4}},
            {"0": {"n_tables": 8}},
            ["hash functions of hidden layer 0.n_tables: 4 in the checkpoint, 8 now"],
        ),
        (
            "data",
            {"n_train": 6000, "values": 1},
            {"n_train": 5000, "values": 2},
            ["training instances: 6,000 in the checkpoint, 5,000 now"],
        ),
        (
            "data",
            {"n_train": 6000, "values": 1, "labels": 3, "indptr": 4},
            {"n_train": 6000, "values": 2, "labels": 5, "indptr": 4},
            ["training instances: as many, but others: labels, values differ"],
        ),
        ("config.train", {"lr": 0.1}, {"lr": 0.1}, []),
        ("data", {"n_train": 6}, {"n_train": 6}, []),
    ],
)
def test_each_difference_is_a_line_with_both_values(what, saved, now, lines):
    """Nested settings by their keys, shapes and instances in words; nothing where all is the same."""
    assert differences(what, saved, now) == lines


def test_a_checkpoint_that_says_anything_is_told_in_a_few_lines():
    """Each of them short and printable."""
    hostile = {f"key{i}\x1b[31m": 10**4000 for i in range(1000)}
    lines = in_short(differences("model", hostile, {}))
    assert len(lines) == 21 and lines[-1] == "and 980 more"
    assert all(len(line) <= 300 and line.isprintable() for line in lines)
    assert in_short(["a", "b"]) == ["a", "b"]
