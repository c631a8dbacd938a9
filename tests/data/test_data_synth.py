"""Generated data: seeded, learnable, the same as text and as a store, and its statistics."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.config.schema import DataConfig, SynthConfig
from distlsh.data import Dataset, open_dataset, open_pair
from distlsh.data.info import Info, dataset_info, info, render_info
from distlsh.data.synth import open_synth, synth_blocks, write_synth

SMALL = SynthConfig(n_train=6000, n_test=1500, n_features=3000, n_labels=800, n_nonzeros=24, seed=3)
ARRAYS = ("indptr", "indices", "values", "label_indptr", "labels")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("synth")


@pytest.fixture(scope="module")
def pair(folder):
    return open_synth(SMALL, cache_dir=str(folder))


def same(a: Dataset, b: Dataset) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ARRAYS)


def centroid_p_at_1(train: Dataset, test: Dataset) -> float:
    """Return P@1 of the label whose mean training row is nearest by cosine."""
    centroids = (train.labels_csr().T @ train.to_csr()).tocsr()
    norms = np.sqrt(np.asarray(centroids.multiply(centroids).sum(axis=1)).ravel())
    scores = (test.to_csr() @ centroids.T).toarray() / np.maximum(norms, 1e-9)
    best = scores.argmax(axis=1)
    return float(np.mean(test.labels_csr().toarray()[np.arange(test.n_rows), best]))


def popularity_p_at_1(train: Dataset, test: Dataset) -> float:
    return float(test.labels_csr().toarray()[:, train.label_counts().argmax()].mean())


def test_text_and_store_hold_the_same_rows(pair, tmp_path):
    """What `data synth` writes parses to exactly what a configuration with `data.synth` trains on."""
    write_synth(SMALL, tmp_path / "train.txt.gz", tmp_path / "test.txt")
    assert same(open_dataset(tmp_path / "train.txt.gz"), pair[0])
    assert same(open_dataset(tmp_path / "test.txt"), pair[1])


def test_rows_are_as_the_settings_say(pair):
    """Sizes, mean entries a row, unit norm and sorted distinct ids."""
    train, test = pair
    assert (train.n_rows, test.n_rows, train.n_features, train.n_labels) == (6000, 1500, 3000, 800)
    assert np.diff(train.indptr).mean() == pytest.approx(24, rel=0.03)
    assert (np.diff(train.label_indptr) == 1).all()
    assert np.sqrt(train.to_csr().power(2).sum(axis=1)) == pytest.approx(1, abs=2e-3)
    inside = np.ones(len(train.indices), bool)
    inside[train.indptr[1:-1]] = False
    assert (np.diff(train.indices)[inside[1:]] > 0).all()
    assert train.indices.min() >= 0 and train.indices.max() < 3000


def test_every_label_of_the_test_set_occurs_in_training(pair):
    """No test instance asks for a label that training never showed."""
    train, test = pair
    assert set(test.labels.tolist()) <= set(train.labels.tolist())
    few = SMALL.__class__(n_train=300, n_test=500, n_features=300, n_labels=5000, n_labels_mean=2.0)
    blocks = {split: list(synth_copies(few, split)) for split in ("train", "test")}
    seen = set(np.concatenate([b.labels for b in blocks["train"]]).tolist())
    assert set(np.concatenate([b.labels for b in blocks["test"]]).tolist()) <= seen


def synth_copies(config, split):
    from distlsh.data.block import RowBlock

    for block in synth_blocks(config, split):
        yield RowBlock(*(getattr(block, name).copy() for name in RowBlock.__slots__))


def test_with_two_instances_a_label_none_is_without(pair):
    """Every label occurs in training when there are rows enough."""
    assert pair[0].label_counts().min() >= 1


def test_frequencies_follow_the_power_law(pair):
    """Sorted label counts fall with about the wanted exponent; exponent 0 is uniform."""
    counts = np.sort(pair[0].label_counts())[::-1].astype(float)
    ranks = np.arange(1, 401)
    slope = np.polyfit(np.log(ranks[4:200]), np.log(counts[4:200]), 1)[0]
    # The guaranteed instances flatten the law's tail; seed fixed, so the bound cannot fail by chance.
    assert -0.8 < slope < -0.45
    assert counts[0] > 8 * counts[200]
    flat = np.concatenate(
        [b.labels for b in synth_copies(SynthConfig(n_train=8000, n_labels=20, exponent=0.0), "train")]
    )
    assert np.bincount(flat).min() > 300


def test_a_centroid_classifier_learns_what_popularity_cannot(pair):
    """The nearest centroid is far above the most frequent label, and not perfect."""
    accuracy = centroid_p_at_1(*pair)
    assert accuracy > 0.4
    assert accuracy > 10 * popularity_p_at_1(*pair)
    assert accuracy < 0.98


def test_labels_of_a_cluster_share_features(pair):
    """Centroids of a cluster are nearer to each other than to others."""
    train = pair[0]
    centroids = (train.labels_csr().T @ train.to_csr()).toarray()
    centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-9)
    cosine = centroids @ centroids.T
    np.fill_diagonal(cosine, np.nan)
    cluster = np.arange(800) // SMALL.cluster_size
    inside = cluster[:, None] == cluster[None, :]
    assert np.nanmean(cosine[inside]) > 2 * np.nanmean(cosine[~inside])


def test_more_labels_an_instance_have_the_wanted_mean():
    """`n_labels_mean` is met within 5%, labels of a row are distinct and sorted."""
    config = SynthConfig(n_train=4000, n_labels=2000, n_features=4000, n_labels_mean=4.0)
    sizes, labels = [], []
    for block in synth_copies(config, "train"):
        sizes += block.label_sizes.tolist()
        labels += np.split(block.labels, np.cumsum(block.label_sizes))[:-1]
    assert np.mean(sizes) == pytest.approx(4.0, rel=0.05)
    assert min(sizes) >= 1
    assert all((np.diff(row) > 0).all() for row in labels)


def test_seeds_and_blocks(folder, monkeypatch):
    """The same seed repeats bit for bit whatever the block size; another seed differs."""
    import distlsh.data.synth as module

    config = SynthConfig(n_train=500, n_test=10, n_features=200, n_labels=50)
    first, _ = open_synth(config, cache_dir=str(folder / "a"))
    monkeypatch.setattr(module, "_ROWS_A_BLOCK", 7)
    again, _ = open_synth(config, cache_dir=str(folder / "b"))
    other, _ = open_synth(
        SynthConfig(n_train=500, n_test=10, n_features=200, n_labels=50, seed=2), cache_dir=str(folder)
    )
    assert same(first, again)
    assert not same(first, other)


def test_stores_of_generated_data_are_reused(folder, pair, monkeypatch):
    """A second opening generates nothing; other settings do not get the old rows."""
    import distlsh.data.synth as module

    def refuse(*_, **__):
        raise AssertionError("generated again")

    monkeypatch.setattr(module, "synth_blocks", refuse)
    train, test = open_pair(DataConfig(synth=SMALL, cache_dir=str(folder)))
    assert same(train, pair[0])
    assert same(test, pair[1])
    with pytest.raises(AssertionError, match="generated again"):
        open_pair(DataConfig(synth=SynthConfig(n_train=10, n_test=10), cache_dir=str(folder)))


def test_generated_rows_can_be_scaled(folder):
    """`normalize` gives rows of norm 1 to float32 precision."""
    config = SynthConfig(n_train=50, n_test=5, n_features=200, n_labels=50)
    train, _ = open_synth(config, cache_dir=str(folder), normalize="l2")
    assert np.sqrt(train.to_csr().power(2).sum(axis=1)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    "config",
    [
        SynthConfig(n_train=1, n_test=1, n_features=16, n_labels=2, n_nonzeros=1),
        SynthConfig(n_train=40, n_test=20, n_features=16, n_labels=3, n_nonzeros=500, n_labels_mean=10.0),
        SynthConfig(
            n_train=40, n_test=20, n_features=16, n_labels=5, cluster_size=100, exponent=3.0, noise=0.0
        ),
        SynthConfig(
            n_train=40, n_test=20, n_features=16, n_labels=5, cluster_size=1, exponent=1.0, noise=0.99
        ),
    ],
)
def test_extreme_settings_give_valid_rows(config):
    """Tiny, crowded and lopsided settings still give rows with labels and features in range."""
    for split in ("train", "test"):
        for block in synth_copies(config, split):
            assert block.label_sizes.min() >= 1
            assert block.feature_sizes.min() >= 1
            assert block.labels.min() >= 0 and block.labels.max() < config.n_labels
            assert block.indices.min() >= 0 and block.indices.max() < config.n_features
            assert np.isfinite(block.values).all()


def test_progress_counts_rows(tmp_path):
    """Progress of the generator is in rows and ends at their number."""
    calls: list[tuple[int, int]] = []
    config = SynthConfig(n_train=20_000, n_test=10, n_features=50, n_labels=5, n_nonzeros=2)
    write_synth(config, tmp_path / "t.txt", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (20_000, 20_000)
    assert len(calls) > 1


INFO_TEXT = "5 10 6\n0,2 1:1 4:2\n 3:-1\n2\n2 1:0.5\n\n"


def test_statistics_are_those_of_the_rows(tmp_path):
    """Counts, means, extremes and quantiles of a small file, by hand."""
    path = tmp_path / "info.txt"
    path.write_text(INFO_TEXT)
    found = info(path)
    assert (found.n_rows, found.n_features, found.n_labels) == (5, 10, 6)
    assert (found.n_nonzeros, found.nonzeros_mean, found.nonzeros_max) == (4, 0.8, 2)
    assert (found.n_label_entries, found.labels_mean, found.labels_max) == (4, 0.8, 2)
    assert (found.rows_without_labels, found.rows_without_features) == (2, 2)
    assert (found.features_used, found.labels_used, found.labels_with_one_instance) == (3, 2, 1)
    assert found.label_count_quantiles["0"] == 1
    assert found.label_count_quantiles["1"] == 3
    assert (found.value_min, found.value_max, found.first_feature) == (-1.0, 2.0, 1)
    assert (found.file_bytes, found.text_bytes, found.format) == (len(INFO_TEXT), len(INFO_TEXT), "xc")
    assert found.store_bytes is not None and found.store_bytes > 128 * 5
    assert found.parse_mb_per_s is not None and found.parse_mb_per_s > 0


def test_statistics_are_rendered_as_lines(tmp_path):
    """The text names every statistic once, aligned."""
    path = tmp_path / "info.txt"
    path.write_text(INFO_TEXT)
    lines = render_info(info(path)).splitlines()
    assert lines[0].split() == ["data", "set", "info.txt", "(xc)"]
    assert any(line.startswith("without labels") and line.endswith("2 instances") for line in lines)
    assert any("median 1" in line and "max 3" in line for line in lines)
    assert any(line.startswith("parsed at") and line.endswith("MB/s of text") for line in lines)
    assert len({line[: len("labels with 1 instance") + 2][-2:] for line in lines}) == 1


def test_statistics_of_arrays_and_of_nothing():
    """Data that is no file, and data without entries, have statistics too."""
    found = dataset_info(Dataset.from_csr(np.zeros((2, 3))))
    assert isinstance(found, Info)
    assert (found.n_rows, found.n_nonzeros, found.value_min, found.file_bytes) == (2, 0, None, None)
    assert "no label occurs" in render_info(found)
