"""``distlsh tune`` on arrays, data files and a run."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from scipy.sparse import csr_array, save_npz

from distlsh.cli import plots
from distlsh.cli.main import main
from distlsh.cli.tuning import parse_candidates, parse_size
from distlsh.config.load import parse_config
from distlsh.config.schema import Config
from distlsh.errors import UsageError
from distlsh.lsh.index import LSHIndex
from distlsh.runtime.launch import run

RUN = {
    "data": {"synth": {"n_train": 2000, "n_test": 300, "n_features": 400, "n_labels": 400, "n_nonzeros": 12}},
    "model": {"hidden": [32]},
    "lsh": {"n_tables": 4, "dim": 8, "n_active": 32},
    "train": {"chunk_size": 512},
    "eval": {"n_rows": 100},
}
FAST = ["--sample", "100", "--families", "cross_polytope"]


def vectors(n=1500, part=0):
    centers = np.random.default_rng(0).standard_normal((n // 15, 24))
    random = np.random.default_rng((1, part))
    rows = centers[random.integers(0, len(centers), n)] + 0.5 * random.standard_normal((n, 24))
    return rows.astype(np.float32)


@pytest.fixture
def array(tmp_path):
    np.save(tmp_path / "rows.npy", vectors())
    np.save(tmp_path / "queries.npy", vectors(part=1))
    return tmp_path / "rows.npy"


def test_an_array_gets_a_table_and_the_index_that_reaches_the_goal(array, tmp_path, capsys):
    """The table is printed, and its last line makes an index whose search has the recall on other queries.

    300 fresh queries: a standard error below 0.03, and 4 of them below the goal.
    """
    options = ["--recall", "0.8", "--k", "5", "--max-candidates", "10%"]
    queries = ["--queries", str(tmp_path / "queries.npy")]
    assert main(["tune", str(array), *options, *queries, *FAST]) == 0
    printed = capsys.readouterr()
    lines = printed.out.rstrip().splitlines()
    assert "1,500 rows of 24 dimensions, 100 queries" in lines[0] and "met" in printed.out
    assert lines[-1].startswith("distlsh.LSHIndex(") and not printed.err
    index = eval(lines[-1].removeprefix("distlsh."), {"LSHIndex": LSHIndex}).fit(vectors())
    asked = vectors(part=2)[:300]
    found, _ = index.search(asked, 5, n_rerank=0)
    unit = vectors() / np.linalg.norm(vectors(), axis=1, keepdims=True)
    truth = np.argsort(-(asked @ unit.T), axis=1)[:, :5]
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found, truth, strict=True)]) > 0.8 - 4 * 0.03


def test_json_has_the_goal_the_table_and_what_is_out_of_reach(array, capsys):
    """--json prints one line that holds all that the table shows."""
    assert main(["tune", str(array), "--recall", "0.99", "--max-candidates", "8", "--json", *FAST]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["goal"]["recall"] == 0.99 and found["goal"]["max_candidates"] == 8
    assert "out of reach within 8 candidates" in found["out_of_reach"]
    assert found["best"] == found["table"][0] and found["best"]["candidates"] <= 8


def test_sparse_arrays_and_data_files_are_read(tmp_path, capsys):
    """A scipy .npz and a data file of the same vectors get the same table."""
    rows = csr_array(np.where(vectors(300) > 0.5, np.abs(vectors(300)), 0).round(3))
    save_npz(tmp_path / "rows.npz", rows)
    lines = [
        "0 " + " ".join(f"{i}:{v:.6g}" for i, v in zip(r.indices, r.data, strict=True))
        for r in (rows[[i]].tocsr() for i in range(300))
    ]
    (tmp_path / "rows.txt").write_text(f"300 24 1\n{chr(10).join(lines)}\n")
    tables = []
    for name in ("rows.npz", "rows.txt"):
        assert main(["tune", str(tmp_path / name), "--recall", "0.5", "--k", "3", *FAST]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] and "300 rows of 24 dimensions" in tables[0]


def test_the_picture_is_written(array, tmp_path, capsys):
    """--plot writes a picture and says where."""
    if not plots.can_plot():
        pytest.skip("the plot extra is not installed")
    picture = tmp_path / "tune.png"
    assert main(["tune", str(array), "--recall", "0.5", "--plot", str(picture), *FAST]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG") and str(picture) in capsys.readouterr().out


@pytest.fixture(autouse=True, scope="module")
def fonts_are_open():
    """Let matplotlib open its fonts, which stay open, before descriptors are counted."""
    if plots.can_plot():
        import io

        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        figure.subplots().loglog([1, 1000], label="x")
        figure.axes[0].legend()
        figure.savefig(io.BytesIO())


def test_without_matplotlib_a_plot_is_refused_before_the_work(array, monkeypatch, capsys):
    """Where the extra is missing, --plot says how to install it and exits with 2."""
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["tune", str(array), "--plot", "x.png"]) == 2
    assert "pip install 'distlsh[plot]'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    config = msgspec.convert({**RUN, "data": {**RUN["data"], "cache_dir": str(folder)}}, Config)
    run(config, run_dir=folder / "run")
    return folder / "run"


def test_a_run_gets_the_lines_of_its_configuration(run_dir, capsys):
    """The lines printed for a run are an lsh group, with a bucket size, that can be trained with."""
    options = ["--recall", "0.5", "--max-candidates", "25%", "--max-bytes", "64M"]
    assert main(["tune", str(run_dir), *options, *FAST]) == 0
    printed = capsys.readouterr().out
    lsh = parse_config("data: {synth: {}}\n" + printed[printed.index("lsh:") :]).lsh
    assert lsh.family == "cross_polytope" and lsh.bucket_size <= 400
    assert "400 rows of 32 dimensions" in printed


@pytest.mark.parametrize("source", ["array", "run_dir"])
def test_no_more_tables_and_probes_are_tried_than_allowed(source, request, capsys):
    """The limits hold for arrays and for runs, in the choice and in every line of the table."""
    options = ["--max-tables", "3", "--max-probes", "2", "--json"]
    assert main(["tune", str(request.getfixturevalue(source)), *options, *FAST]) == 0
    found = json.loads(capsys.readouterr().out)
    specs = [each["spec"] for each in (found["best"], *found["table"])]
    assert max(spec["n_tables"] for spec in specs) <= 3
    assert max(spec["n_probes"] for spec in specs) <= 2


def test_wrong_usage_exits_with_2_and_says_why(array, run_dir, tmp_path, capsys):
    """Missing files, options that do not fit the source and wrong numbers are named."""
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    np.savez(tmp_path / "two.npz", a=vectors(30), b=vectors(30))
    for arguments, message in [
        (["missing.npy"], "no such file or run: missing.npy"),
        ([str(tmp_path / "bad.npy")], "cannot be read as an array"),
        ([str(tmp_path / "two.npz")], "it holds arrays a, b"),
        ([str(tmp_path)], "no checkpoint"),
        ([str(array), "--recall", "1.5"], "target_recall is 1.5"),
        ([str(array), "--max-candidates", "many"], "--max-candidates many"),
        ([str(array), "--max-bytes", "5X"], "--max-bytes 5X"),
        ([str(array), "--data", "x"], "--data is for runs"),
        ([str(array), "--max-tables", "0"], "max_tables is 0"),
        ([str(run_dir), "--max-probes", "-1"], "max_probes is -1"),
        ([str(run_dir), "--metric", "cosine"], "--metric is for arrays"),
        ([str(array), "--families", "minhash"], "minhash does not serve metric 'cosine'"),
    ]:
        assert main(["tune", *arguments]) == 2, arguments
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(("text", "value"), [("500", 500.0), ("1%", 0.01), ("0.02", 0.02), (None, None)])
def test_candidates_are_numbers_or_shares(text, value):
    """Percents and numbers below 1 are shares of the rows."""
    assert parse_candidates(text) == value


def test_sizes_have_units():
    """K, M, G and T are powers of 1024; anything else is refused."""
    assert parse_size("2G") == 2 << 30 and parse_size("1.5M") == 3 << 19 and parse_size("7") == 7
    with pytest.raises(UsageError, match="--max-bytes 7 apples"):
        parse_size("7 apples")
