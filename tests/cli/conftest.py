"""Reports, evaluations and summaries as a run makes them."""

from __future__ import annotations

import msgspec
import pytest

from distlsh.protocol.reports import Evaluation, Report, Summary


@pytest.fixture
def make_report():
    def make(**changes):
        fields = {
            "time_s": 83.0,
            "train_s": 61.5,
            "phase": "train",
            "epoch": 0,
            "epochs": 3,
            "samples": 201_622,
            "epoch_done": 201_622,
            "epoch_size": 448_049,
            "samples_per_s": 3912.4,
            "worker_samples_per_s": [1950.0, 1962.4],
            "loss": 0.12345,
            "n_active_mean": 498.2,
            "rows_updated_mean": 41.7,
            "mac_fraction": 0.0123,
            "lr": 0.02,
            "generation": 3,
            "rehashes": 3,
            "table_age_s": 4.2,
            "table_recall_at_1": 0.87,
            "p_at_1": 0.2912,
            "eta_s": 80.0,
        }
        return Report(**{**fields, **changes})

    return make


@pytest.fixture
def make_evaluation():
    def make(**changes):
        exact = {f"{name}_at_{k}": 0.3 - 0.01 * k for name in ("p", "ndcg", "psp") for k in (1, 3, 5)}
        lsh = {"lsh_p_at_1": 0.28, "lsh_p_at_3": 0.26, "lsh_p_at_5": 0.24, "lsh_ndcg_at_5": 0.25}
        fields = {
            "kind": "subset",
            "epoch": 0,
            "samples": 100_000,
            "train_s": 30.0,
            "n_rows": 2000,
            "eval_s": 1.5,
            "table_recall_at_1": 0.87,
            "table_recall_at_10": 0.61,
            "retrieved_mean": 2300.0,
            "lsh_mac_fraction": 0.0104,
        }
        return Evaluation(**{**exact, **lsh, **fields, **changes})

    return make


@pytest.fixture
def make_summary():
    def make(**changes):
        fields = {
            "status": "completed",
            "workers": 2,
            "samples": 448_049,
            "epochs": 1.0,
            "samples_per_s": 3900.0,
            "load_s": 1.2,
            "compile_s": 0.5,
            "train_s": 115.0,
            "eval_s": 20.0,
            "total_s": 140.0,
            "start_s": 3.4,
            "first_step_s": 21.0,
            "p_at_1": 0.2912,
            "p_at_3": 0.14,
            "p_at_5": 0.094,
            "popularity_p_at_1": 0.0004,
            "loss": 0.1234,
            "n_active_mean": 498.0,
            "mac_fraction": 0.0123,
            "table_recall_at_1": 0.87,
            "rehashes": 7,
            "table_age_s_mean": 5.0,
            "peak_memory_bytes": 3 << 30,
            "run_dir": "runs/x",
        }
        return Summary(**{**fields, **changes})

    return make


@pytest.fixture
def run_dir(tmp_path, make_report, make_evaluation, make_summary):
    """Return a run directory with a short recorded run."""
    folder = tmp_path / "run"
    folder.mkdir()
    reports = [make_report(phase="tables", loss=None)]
    reports += [make_report(train_s=float(i), loss=5.0 / i, samples_per_s=3000.0 + i) for i in range(1, 20)]
    evaluations = [
        make_evaluation(kind="initial", train_s=0.0, p_at_1=0.24),
        make_evaluation(train_s=10.0),
        make_evaluation(kind="final", train_s=19.0, p_at_1=0.31),
    ]
    (folder / "metrics.jsonl").write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in reports))
    (folder / "eval.jsonl").write_bytes(b"".join(msgspec.json.encode(e) + b"\n" for e in evaluations))
    (folder / "config.yaml").write_text("data: {synth: {}}\n")
    (folder / "summary.json").write_bytes(msgspec.json.encode(make_summary(run_dir=str(folder))))
    return folder
