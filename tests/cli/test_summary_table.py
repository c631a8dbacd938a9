"""The table at the end of a run."""

from __future__ import annotations

import io

from rich.console import Console

from distlsh.cli.summary import file_rows, next_commands, summary_table


def rendered(summary):
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(summary_table(summary), soft_wrap=True)
    return console.export_text()


def test_every_figure_is_there(make_summary):
    """Accuracy with its baseline, the work done and what it cost."""
    text = rendered(make_summary())
    for part in (
        "Run completed",
        "0.2912 / 0.1400 / 0.0940",
        "P@1 of the popularity baseline     0.0004",
        "448,049 (1.00 epochs) by 2 workers",
        "3,900",
        "498",
        "1.2%",
        "0.8700 / -",
        "7, 5.0 s",
        "1m55s",
        "1.2 s / 0.5 s / 20 s",
        "command to start of training       3.4 s",
        "command to first gradient step     21 s",
        "command to end                     2m20s",
        "3.0 GiB",
        "not measured",
    ):
        assert part in text


def test_hashed_hidden_layers_have_their_share_and_recall(make_summary):
    """A run with hashed hidden layers tells their multiply-adds and recalls; others have no such lines."""
    text = rendered(make_summary(hidden_mac_fraction=0.013, hidden_recall=[0.72, 0.7]))
    assert "share of hashed layers' dense work" in text and "1.3%" in text
    assert "0.7200 / 0.7000" in text
    assert "hashed layers" not in rendered(make_summary())


def test_a_run_that_never_trained(make_summary):
    """Interrupted before its first step, a run has no time to it."""
    text = rendered(make_summary(status="interrupted", start_s=0.0, first_step_s=0.0))
    assert "command to first gradient step     -" in text


def test_measured_energy(make_summary):
    """Energy is told in joules where it was measured."""
    assert "12,346 J" in rendered(make_summary(energy_j=12345.6))


def test_where_everything_lies(run_dir, make_summary):
    """Names of what exists, each with what it is."""
    names = [name for name, _ in file_rows(run_dir)]
    assert names == ["config.yaml", "summary.json", "metrics.jsonl", "eval.jsonl"]
    (run_dir / "plots").mkdir()
    text = rendered(make_summary(run_dir=str(run_dir)))
    assert f"in {run_dir}\n" in text
    assert "  plots          pictures of the run" in text


def test_what_comes_next(make_summary):
    """A completed run can be used, an interrupted one resumed."""
    assert next_commands(make_summary())[0] == "distlsh evaluate runs/x --data FILE"
    assert next_commands(make_summary(status="interrupted")) == ["distlsh-launch --resume runs/x"]
