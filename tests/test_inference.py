"""A saved model: predictions on arrays and data sets, evaluation, and files of predictions."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy import sparse

from distlsh.config.schema import Config, DataConfig, EvalConfig
from distlsh.data.dataset import Dataset
from distlsh.errors import CheckpointError, ConfigError, ShapeError, UsageError
from distlsh.evaluation.propensity import inv_propensity
from distlsh.inference import Model
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tables import Tables, table_specs
from distlsh.model.checkpoint import MANIFEST, read_checkpoint, write_checkpoint
from distlsh.model.spec import NetworkSpec, array_shapes
from distlsh.predictions import predict_to_file

N_FEATURES, N_LABELS, WIDTH, M = 20, 300, 16, 257
LSH = HashSpec("fast_srp", n_hashes=4, n_tables=8, n_probes=1, n_dims=WIDTH, seed=3)


def network_arrays(spec: NetworkSpec, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = {
        name: rng.standard_normal(shape).astype(np.float32) for name, shape in array_shapes(spec).items()
    }
    return arrays | {"output.dirty": np.zeros(spec.n_labels, np.uint8)}


def table_arrays(weights: np.ndarray, spec: HashSpec = LSH) -> dict[str, np.ndarray]:
    """Hash all rows into the buffer of generation 1; leave that of generation 0 empty."""
    arrays = {s.name: np.zeros(s.shape, s.dtype) for s in table_specs(spec, len(weights), 64)}
    for buffer in (0, 1):
        Tables(arrays, buffer, "fifo", spec.seed).clear()
    codes = Hasher(spec).codes(weights)
    Tables(arrays, 1, "fifo", spec.seed).insert(np.arange(len(weights), dtype=np.int32), codes)
    arrays["tables.generation"][0] = 1
    return arrays


def save(
    run_dir: Path, *, tables: bool = True, data: DataConfig | None = None, **network: object
) -> tuple[Path, NetworkSpec, dict[str, np.ndarray]]:
    spec = NetworkSpec(N_FEATURES, (24, WIDTH), N_LABELS, **{"activation": "tanh", **network})
    arrays = network_arrays(spec, seed=0)
    if tables:
        arrays |= table_arrays(arrays["output.weights"])
    config = Config(data=data or DataConfig(), eval=EvalConfig(propensity_a=0.6, propensity_b=2.6))
    state = {
        "model": spec.to_dict(),
        "lsh": {**asdict(LSH), "bucket_size": 64, "bucket_policy": "fifo"} if tables else None,
        "config": msgspec.to_builtins(config),
        "position": {"epoch": 2, "samples": 77},
        "train_s": 1.5,
    }
    write_checkpoint(run_dir / "checkpoints", "final", arrays, state, keep=2)
    return run_dir, spec, arrays


def logits(spec: NetworkSpec, arrays: dict[str, np.ndarray], X: np.ndarray) -> np.ndarray:
    """Compute all logits from the definition, in float64."""
    h = np.tanh(X.astype(np.float64) @ arrays["input.weights"] + arrays["input.bias"])
    h = np.tanh(h @ arrays["hidden.1.weights"] + arrays["hidden.1.bias"])
    if spec.normalize:
        h *= spec.scale / np.linalg.norm(h, axis=1, keepdims=True)
    out = h @ arrays["output.weights"].T
    return out + arrays["output.bias"].T if spec.bias else out


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NetworkSpec, dict[str, np.ndarray]]:
    return save(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    rng = np.random.default_rng(1)
    return (rng.standard_normal((M, N_FEATURES)) * (rng.random((M, N_FEATURES)) < 0.3)).astype(np.float32)


@pytest.mark.parametrize(
    "network", [{}, {"bias": True}, {"normalize": False, "bias": True}, {"activation": "tanh", "scale": 3.0}]
)
def test_exact_predictions_are_the_best_logits(tmp_path: Path, features: np.ndarray, network: dict) -> None:
    """Scores are the logits of the definition, in order, and of the labels named."""
    run_dir, spec, arrays = save(tmp_path, tables=False, **network)
    ids, scores = Model.load(run_dir).predict(features, k=7)
    expected = logits(spec, arrays, features)
    assert (ids.dtype, scores.dtype) == (np.int64, np.float32)
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :7], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(expected, ids, 1), scores, rtol=1e-4, atol=1e-4)


def test_all_forms_of_the_features_predict_alike(saved, features: np.ndarray) -> None:
    """Dense, CSR and a data set give the same labels; a subset of rows gives its part."""
    model = Model.load(saved[0])
    ids, scores = model.predict(features, k=3)
    np.testing.assert_array_equal(model.predict(sparse.csr_matrix(features), k=3)[0], ids)
    dataset = Dataset.from_csr(sparse.csr_array(features), n_labels=N_LABELS)
    np.testing.assert_array_equal(model.predict_rows(dataset, k=3)[0], ids)
    some, some_scores = model.predict_rows(dataset, np.array([200, 3]), k=3)
    np.testing.assert_array_equal(some, ids[[200, 3]])
    np.testing.assert_allclose(some_scores, scores[[200, 3]], rtol=1e-5)


def test_hidden_vectors_and_output_rows_give_the_logits(saved, features: np.ndarray) -> None:
    """Their products times the scale are what `predict` ranks; a subset of rows gives its part."""
    model = Model.load(saved[0])
    dataset = Dataset.from_csr(sparse.csr_array(features), n_labels=N_LABELS)
    hidden = model.hidden(dataset)
    expected = logits(saved[1], saved[2], features)
    np.testing.assert_allclose(model.spec.scale * hidden @ model.output_weights.T, expected, atol=1e-3)
    np.testing.assert_array_equal(model.hidden(dataset, np.array([200, 3])), hidden[[200, 3]])
    assert not model.output_weights.flags.writeable


def test_tables_written_before_there_were_transforms_load(tmp_path: Path, features: np.ndarray) -> None:
    """A checkpoint without the lengths that transforms need predicts by its tables as ever."""
    run_dir, _, arrays = save(tmp_path / "new")
    older = tmp_path / "older"
    _, state = read_checkpoint(run_dir / "checkpoints" / "final")
    kept = {name: array for name, array in arrays.items() if name != "tables.max_norm"}
    write_checkpoint(older / "checkpoints", "final", kept, state, keep=2)
    expected = Model.load(run_dir).predict(features, method="lsh")[0]
    np.testing.assert_array_equal(Model.load(older).predict(features, method="lsh")[0], expected)


def test_lsh_predictions_are_the_best_of_the_retrieved(saved, features: np.ndarray) -> None:
    """Each label lies in a probed bucket of the published generation, and none better does."""
    run_dir, spec, arrays = saved
    ids, scores = Model.load(run_dir).predict(features, k=5, method="lsh")
    h = np.tanh(
        np.tanh(features @ arrays["input.weights"] + arrays["input.bias"]) @ arrays["hidden.1.weights"]
        + arrays["hidden.1.bias"]
    )
    h = np.ascontiguousarray(h / np.linalg.norm(h, axis=1, keepdims=True), np.float32)
    hasher, expected = Hasher(LSH), logits(spec, arrays, features)
    probes, codes = hasher.probes(h), hasher.codes(arrays["output.weights"])
    for i in range(M):
        found = {
            label for t in range(LSH.n_tables) for label in np.flatnonzero(np.isin(codes[:, t], probes[i, t]))
        }
        best = sorted(found, key=lambda label: -expected[i, label])[:5]
        kept = ids[i][ids[i] >= 0].tolist()
        assert len(set(kept)) == len(kept) == min(5, len(found))
        assert set(kept) <= found
        np.testing.assert_allclose(scores[i][ids[i] >= 0], expected[i, best], rtol=1e-4, atol=1e-4)
        assert np.isneginf(scores[i][ids[i] < 0]).all()


def test_unit_features_are_scaled_as_in_training(tmp_path: Path, features: np.ndarray) -> None:
    """A model trained on rows of norm 1 scales what it predicts for, and refuses other data sets."""
    run_dir, _, _ = save(tmp_path, data=DataConfig(normalize="l2"))
    model = Model.load(run_dir)
    np.testing.assert_array_equal(model.predict(features * 5, 3)[0], model.predict(features, 3)[0])
    raw = Dataset.from_csr(features, n_labels=N_LABELS)
    with pytest.raises(ShapeError, match="normalize='l2'"):
        model.predict_rows(Dataset(**{**vars(raw), "meta": {"normalize": "none"}}))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k": 0}, ShapeError, "k is 0"),
        ({"k": N_LABELS + 1}, ShapeError, "300 labels"),
        ({"method": "fast"}, UsageError, "exact, lsh"),
        ({"X": np.ones((2, 3))}, ShapeError, "3 features"),
        ({"X": np.full((2, N_FEATURES), np.nan)}, ShapeError, "row 0, feature 0"),
    ],
)
def test_wrong_requests_are_refused(saved, change: dict, error: type[Exception], message: str) -> None:
    """Each mistake of a caller has its message."""
    request = {"X": np.ones((2, N_FEATURES)), "k": 5, "method": "exact"} | change
    with pytest.raises(error, match=message):
        Model.load(saved[0]).predict(**request)


def test_a_dense_model_has_no_lsh(tmp_path: Path, features: np.ndarray) -> None:
    """Without tables, LSH inference is refused and evaluation is exact alone."""
    model = Model.load(save(tmp_path, tables=False)[0])
    with pytest.raises(UsageError, match="exact"):
        model.predict(features, method="lsh")
    evaluation = model.evaluate(Dataset.from_csr(features, np.zeros(M, int), n_labels=N_LABELS))
    assert evaluation.lsh_p_at_1 is None
    assert not model.has_tables


def test_no_rows(saved) -> None:
    """Nothing asked, nothing answered."""
    for method in ("exact", "lsh"):
        ids, scores = Model.load(saved[0]).predict(np.empty((0, N_FEATURES)), k=4, method=method)
        assert ids.shape == scores.shape == (0, 4)


def test_evaluation_agrees_with_predictions(saved, features: np.ndarray) -> None:
    """P@k, recall, retrieved and multiply-adds, computed again from `predict`."""
    model = Model.load(saved[0])
    exact, lsh = (model.predict(features, k=10, method=method)[0] for method in ("exact", "lsh"))
    labels = [[int(row[0]), int(row[4])] if i % 2 else [] for i, row in enumerate(exact)]
    labels[1] = [int(lsh[1, 0])]
    dataset = Dataset.from_csr(features, labels, n_labels=N_LABELS)
    evaluation = model.evaluate(dataset, inverse=np.ones(N_LABELS, np.float32), kind="subset")

    rows = [i for i in range(M) if labels[i]]

    def precision(ids: np.ndarray, k: int) -> float:
        return float(np.mean([len(set(ids[i, :k].tolist()) & set(labels[i])) / k for i in rows]))

    assert evaluation.n_rows == len(rows)
    assert (evaluation.kind, evaluation.epoch, evaluation.samples, evaluation.train_s) == (
        "subset",
        2,
        77,
        1.5,
    )
    for k in (1, 3, 5):
        assert math.isclose(getattr(evaluation, f"p_at_{k}"), precision(exact, k))
        assert math.isclose(getattr(evaluation, f"lsh_p_at_{k}"), precision(lsh, k))
    assert evaluation.retrieved_mean is not None
    assert 10 < evaluation.retrieved_mean < N_LABELS
    # the exact top is among the retrieved exactly where it is the LSH top
    assert math.isclose(
        evaluation.table_recall_at_1, float(np.mean([exact[i, 0] == lsh[i, 0] for i in rows]))
    )
    shared = [len(set(exact[i].tolist()) & set(lsh[i].tolist())) / 10 for i in rows]
    assert math.isclose(evaluation.table_recall_at_10, float(np.mean(shared)), rel_tol=1e-6)
    nnz = sum(int((features[i] != 0).sum()) for i in rows) / len(rows)
    fixed = nnz * 24 + 24 * WIDTH
    share = (fixed + evaluation.retrieved_mean * WIDTH) / (fixed + N_LABELS * WIDTH)
    assert math.isclose(evaluation.lsh_mac_fraction, share, rel_tol=1e-6)


def test_evaluating_rows_without_lsh(saved, features: np.ndarray) -> None:
    """A subset of rows, exact alone; rows that do not exist are refused."""
    model = Model.load(saved[0])
    dataset = Dataset.from_csr(features, np.zeros(M, int), n_labels=N_LABELS)
    evaluation = model.evaluate(dataset, np.array([5, 9]), lsh=False)
    assert evaluation.n_rows == 2
    assert evaluation.lsh_p_at_1 is None
    with pytest.raises(ShapeError, match="257"):
        model.evaluate(dataset, np.array([M]))


def test_data_with_more_labels_is_refused(saved, features: np.ndarray) -> None:
    """A data set that does not fit the network is an error, not a wrong number."""
    dataset = Dataset.from_csr(features, np.full(M, N_LABELS), n_labels=N_LABELS + 1)
    with pytest.raises(ShapeError, match="labels"):
        Model.load(saved[0]).evaluate(dataset)


def test_propensities_come_from_the_training_data(tmp_path: Path, features: np.ndarray) -> None:
    """PSP uses the label counts of ``data.train`` with the run's A and B."""
    train = tmp_path / "train.txt"
    train.write_text(f"4 {N_FEATURES} {N_LABELS}\n0 1:1\n0,2 1:1\n0 3:1\n7 2:1\n")
    run_dir, _, _ = save(tmp_path, data=DataConfig(train=str(train)))
    counts = np.zeros(N_LABELS, int)
    counts[[0, 2, 7]] = 3, 1, 1
    np.testing.assert_allclose(Model.load(run_dir).inverse_propensity(), inv_propensity(counts, 4, 0.6, 2.6))


def test_missing_training_data_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without the training data PSP is unweighted, and the log says so."""
    run_dir, _, _ = save(tmp_path, data=DataConfig(train=str(tmp_path / "gone.txt")))
    assert (Model.load(run_dir).inverse_propensity() == 1).all()
    assert "gone.txt" in caplog.text


@pytest.mark.parametrize("name", ["out.txt", "out.txt.gz"])
@pytest.mark.parametrize("method", ["exact", "lsh"])
def test_predictions_in_a_file(
    saved, features: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, method: str
) -> None:
    """One line a row, ``label:logit`` best first, in batches; nothing else is left in the folder."""
    monkeypatch.setattr("distlsh.predictions.FILE_BLOCK", 100)
    model, seen = Model.load(saved[0]), []
    dataset = Dataset.from_csr(features, n_labels=N_LABELS)
    path = tmp_path / name
    assert predict_to_file(model, dataset, 4, path, method, lambda *done: seen.append(done)) == M
    ids, scores = model.predict(features, 4, method)
    data = path.read_bytes()
    lines = (gzip.decompress(data) if name.endswith("gz") else data).decode().splitlines()
    assert len(lines) == M
    for i, line in enumerate(lines):
        pairs = [pair.split(":") for pair in line.split()]
        kept = ids[i] >= 0
        assert [int(label) for label, _ in pairs] == ids[i][kept].tolist()
        np.testing.assert_allclose([float(score) for _, score in pairs], scores[i][kept], rtol=1e-4)
    assert seen == [(100, M), (200, M), (M, M)]
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_failed_prediction_keeps_the_old_file(saved, features: np.ndarray, tmp_path: Path) -> None:
    """An error half-way leaves the file that was there, and nothing beside it."""
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(ShapeError):
        predict_to_file(Model.load(saved[0]), Dataset.from_csr(features, n_labels=N_LABELS), 0, path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["out.txt"]


def test_a_folder_that_is_missing_is_said(saved, features: np.ndarray, tmp_path: Path) -> None:
    """The output's folder must exist."""
    with pytest.raises(UsageError, match=r"gone.out\.txt"):
        predict_to_file(
            Model.load(saved[0]),
            Dataset.from_csr(features, n_labels=N_LABELS),
            1,
            tmp_path / "gone" / "out.txt",
        )


def test_a_checkpoint_can_be_loaded_by_itself(saved, features: np.ndarray) -> None:
    """The folder of one checkpoint is taken as well as a run directory."""
    whole, one = Model.load(saved[0]), Model.load(saved[0] / "checkpoints" / "final")
    np.testing.assert_array_equal(whole.predict(features)[0], one.predict(features)[0])


def test_a_damaged_newest_checkpoint_is_passed_over(
    tmp_path: Path, features: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    """The one before is used, with a warning; with none left it is an error."""
    save(tmp_path)
    newest = write_checkpoint(tmp_path / "checkpoints", "broken", {"x": np.zeros(3)}, {}, keep=3)
    (newest / "x.npy").unlink()
    assert Model.load(tmp_path).path.name == "final"
    assert "broken" in caplog.text
    (tmp_path / "checkpoints" / "final" / MANIFEST).write_text(json.dumps({}))
    with pytest.raises(CheckpointError, match="final"):
        Model.load(tmp_path)


def test_a_checkpoint_of_no_model_is_an_error(tmp_path: Path) -> None:
    """Arrays without a description of the network are refused."""
    write_checkpoint(tmp_path, "a", {"x": np.zeros(3)}, {"position": {}}, keep=1)
    with pytest.raises(CheckpointError, match="does not describe a model"):
        Model.load(tmp_path)


def test_more_probes_find_more_and_fewer_candidates_less(saved, features: np.ndarray) -> None:
    """Effort trades time for recall: more probes agree more with exact inference, a small budget less."""
    model = Model.load(saved[0])
    exact = model.predict(features, 3)[0]

    def agreement(**effort: int) -> float:
        ids = model.predict(features, 3, "lsh", **effort)[0]
        return float((ids[:, :, None] == exact[:, None, :]).any(2).mean())

    few, trained, more = agreement(n_probes=0), agreement(), agreement(n_probes=6)
    assert few < trained < more
    assert agreement(n_probes=6, max_candidates=3) < more
    assert agreement(n_probes=LSH.n_probes) == trained


@pytest.mark.parametrize(
    ("method", "effort", "said"),
    [
        ("exact", {"n_probes": 2}, "leave them out"),
        ("lsh", {"max_candidates": 2}, "below the 3"),
        ("lsh", {"n_probes": 99}, "lsh.n_probes"),
    ],
)
def test_impossible_efforts_are_refused(
    saved, features: np.ndarray, method: str, effort: dict[str, int], said: str
) -> None:
    """An effort that does nothing, or that the hash functions do not have, is an error that says so."""
    with pytest.raises((UsageError, ConfigError), match=said):
        Model.load(saved[0]).predict(features, 3, method, **effort)


def hostile(name: str, value: int) -> Callable[[dict[str, np.ndarray]], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = np.full_like(arrays[name], value)

    return change


@pytest.mark.parametrize(
    "change, words",
    [
        (hostile("tables.ids", N_LABELS), r"tables\.ids"),
        (hostile("tables.sizes", 65), r"tables\.ids"),
        (hostile("tables.codes", 1 << 30), r"tables\.codes"),
        (hostile("tables.generation", -1), r"tables\.generation"),
        (lambda arrays: arrays.update({"tables.sizes": arrays["tables.sizes"][:, :4]}), r"tables\.sizes"),
        (
            lambda arrays: arrays.update({"output.weights": arrays["output.weights"][:9]}),
            r"output\.weights is",
        ),
        (lambda arrays: arrays.pop("input.weights"), r"input\.weights"),
    ],
    ids=["ids", "sizes", "codes", "generation", "tables' shape", "rows", "missing"],
)
def test_arrays_that_kernels_cannot_use_are_refused(
    tmp_path: Path, change: Callable[[dict[str, np.ndarray]], None], words: str
) -> None:
    """Right checksums over places that do not exist: found when the model is loaded, and named."""
    save(tmp_path)
    path = tmp_path / "checkpoints" / "final"
    arrays, state = read_checkpoint(path)
    change(arrays)
    write_checkpoint(path.parent, "hostile", arrays, state, keep=1)
    with pytest.raises(CheckpointError, match=words):
        Model.load(tmp_path)
