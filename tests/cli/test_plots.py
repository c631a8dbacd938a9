"""Plots of a recorded run."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from distlsh.cli import plots
from distlsh.cli.main import main
from distlsh.errors import UsageError

matplotlib_missing = not plots.can_plot()
needs_matplotlib = pytest.mark.skipif(matplotlib_missing, reason="the plot extra is not installed")


@pytest.fixture(scope="module", autouse=True)
def fonts_are_open():
    """Let matplotlib open its fonts, which stay open, before descriptors are counted."""
    if not matplotlib_missing:
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().plot([1, 2], label="x")
        figure.axes[0].legend()
        figure.savefig(io.BytesIO())


@needs_matplotlib
def test_four_plots_are_written(run_dir):
    """P@1, loss, throughput and table recall over training time, as PNG files."""
    written = plots.write_plots(run_dir)
    assert [path.name for path in written] == ["p_at_1.png", "loss.png", "throughput.png", "table_recall.png"]
    for path in written:
        assert path.read_bytes().startswith(b"\x89PNG")


@needs_matplotlib
def test_a_line_cut_off_is_left_out(run_dir):
    """A run that was killed while it wrote can still be plotted."""
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"type": "report", "time_')
    assert plots.write_plots(run_dir)


@needs_matplotlib
def test_a_dense_run_has_no_recall(run_dir, make_evaluation):
    """Without tables the plots are written all the same."""
    import msgspec

    dense = make_evaluation(lsh_p_at_1=None, table_recall_at_1=None, table_recall_at_10=None)
    (run_dir / "eval.jsonl").write_bytes(msgspec.json.encode(dense))
    assert len(plots.write_plots(run_dir)) == 4


@needs_matplotlib
def test_the_command_prints_the_paths(run_dir, capsys):
    """`distlsh plot RUN` writes the same."""
    assert main(["plot", str(run_dir)]) == 0
    assert str(run_dir / "plots" / "loss.png") in capsys.readouterr().out


def test_missing_matplotlib_is_said(run_dir, monkeypatch):
    """Without the extra the message says how to get it."""
    monkeypatch.setattr(plots, "can_plot", lambda: False)
    with pytest.raises(UsageError, match=r"pip install 'distlsh\[plot\]'"):
        plots.write_plots(run_dir)


def test_plots_module_loads_without_matplotlib():
    """Only drawing imports matplotlib."""
    code = "import sys, distlsh.cli.plots; assert 'matplotlib' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
