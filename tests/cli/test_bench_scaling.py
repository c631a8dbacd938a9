"""``distlsh bench scaling`` by real small runs."""

from __future__ import annotations

import io
import json

import pytest

from distlsh.cli import scaling
from distlsh.cli.commands.bench import parse_workers
from distlsh.cli.main import main
from distlsh.errors import UsageError
from distlsh.runtime.scaling import Scaling, ScalingRun, _rows

SMALL = [
    *("--set", "data.synth.n_train=1500"),
    *("--set", "data.synth.n_test=200"),
    *("--set", "data.synth.n_features=600"),
    *("--set", "data.synth.n_labels=800"),
    *("--set", "model.hidden=[32]"),
    *("--set", "lsh.n_active=64"),
    *("--set", "lsh.n_tables=8"),
    *("--set", "train.epochs=1"),
    *("--set", "train.chunk_size=128"),
    *("--set", "rehash.initial_interval=500"),
]


def make_run(workers, rate, **fields):
    values = {"steps_s": 1.0, "p_at_1": 0.5, "cpu_s": {"workers": 2.0}, "rehash_share": 0.1}
    values |= {
        "pretrained_per_s": None,
        "pretrain_s": None,
        "table_stale_mean": None,
        "table_age_s": 1.0,
        "conflicts": 0.0,
        **fields,
    }
    return ScalingRun(workers=workers, samples=100, samples_per_s=rate, **values)


@pytest.fixture(scope="module")
def fonts_are_open():
    """Let matplotlib open its fonts, which stay open, before descriptors are counted."""
    if not scaling.can_plot():
        pytest.skip("the plot extra is not installed")
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot([1, 2], label="x")
    figure.axes[0].legend()
    for format in ("png", "svg"):
        figure.savefig(io.BytesIO(), format=format)


@pytest.mark.usefixtures("fonts_are_open")
def test_runs_are_compared_and_written(tmp_path, capsys):
    """Each number of workers trains the same samples; table, JSON and pictures tell of both."""
    out = tmp_path / "scaling.json"
    cache = ["--set", f"data.cache_dir={tmp_path}"]
    options = ["--workers", "1,2", "--repeat", "1", "--out", str(out)]
    assert main(["bench", "scaling", *options, *SMALL, *cache]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" samples/s, P@1 ") == 2 and "1,500 samples each" in printed
    found = json.loads(out.read_text())
    assert [row["workers"] for row in found["rows"]] == [1, 2]
    assert {row["samples"] for row in found["rows"]} == {1500}
    one, two = found["rows"]
    assert one["efficiency"] == 1 and two["efficiency"] > 0
    assert one["conflicts"] == 0 <= two["conflicts"] < 1  # workers that take turns on a busy core never meet
    assert set(two["cpu_s"]) == {"workers", "rehasher", "coordinator"} and two["cpu_s"]["workers"] > 0
    assert two["rehash_share"] > 0 and two["table_age_s"] > 0
    assert found["config"]["model"]["hidden"] == [32]
    assert out.with_suffix(".svg").exists() and out.with_suffix(".png").exists()
    assert not list(tmp_path.glob("distlsh-scaling-*"))


def test_medians_and_efficiency():
    """A row is the median of its runs; efficiency is a worker's throughput over that of the fewest's."""
    runs = [make_run(2, 180.0), make_run(1, 100.0), make_run(1, 90.0), make_run(1, 400.0), make_run(2, 180.0)]
    one, two = _rows(runs)
    assert (one.samples_per_s, one.runs, one.efficiency) == (100.0, 3, 1.0)
    assert two.efficiency == pytest.approx(0.9)
    assert one.table_stale_mean is None and two.pretrain_efficiency is None


def test_the_pretraining_has_an_efficiency_of_its_own():
    """It is of the pretraining's samples a second, whatever the training's are."""
    one, two = _rows([make_run(1, 100.0, pretrained_per_s=50.0), make_run(2, 190.0, pretrained_per_s=80.0)])
    assert (one.pretrain_efficiency, two.pretrain_efficiency) == (1.0, 0.8)
    assert two.efficiency == pytest.approx(0.95)


def test_without_matplotlib_the_picture_alone_is_missing(tmp_path, monkeypatch, capsys):
    """The message says what to install; nothing is drawn."""
    monkeypatch.setattr(scaling, "can_plot", lambda: False)
    runs = [make_run(1, 100.0)]
    assert scaling.draw(Scaling(rows=_rows(runs), runs=runs), tmp_path / "x.json") == []
    assert "pip install 'distlsh[plot]'" in capsys.readouterr().out


def test_numbers_of_workers_are_given_with_commas(monkeypatch):
    """By default powers of two up to the cores, and the cores; anything else is refused."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)))
    assert parse_workers(None) == [1, 2, 4, 6]
    assert parse_workers("1,8") == [1, 8]
    with pytest.raises(UsageError, match="such as 1,2,4"):
        parse_workers("1;2")


@pytest.mark.parametrize(
    "arguments", [["--workers", "0"], ["--repeat", "0"], ["--quick", "--config", "bibtex"]]
)
def test_wrong_usage_is_answered_at_once(arguments, capsys):
    """Counts below 1, and a quick run of one's own configuration, end with exit code 2."""
    assert main(["bench", "scaling", *arguments]) == 2
    assert capsys.readouterr().err
