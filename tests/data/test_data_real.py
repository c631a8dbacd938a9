"""The readers on real files, where a checkout has them beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from distlsh.data import open_dataset
from distlsh.data.info import info

REAL = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data in {REAL}")


@pytest.mark.parametrize(
    ("name", "sizes", "labels_mean", "nonzeros_mean"),
    [
        ("bibtex.train", (4880, 1836, 159), 2.4, 68),
        ("bibtex.test", (2515, 1836, 159), 2.4, 69),
        ("delicious.train", (12920, 500, 983), 19, 18),
        ("delicious.test", (3185, 500, 983), 19, 18),
    ],
)
def test_small_sets_have_their_known_statistics(tmp_path, name, sizes, labels_mean, nonzeros_mean):
    """Rows and sizes are the known ones, means agree with them as rounded."""
    found = info(REAL / f"{name}.txt.gz", cache_dir=tmp_path)
    assert (found.n_rows, found.n_features, found.n_labels) == sizes
    assert found.labels_mean == pytest.approx(labels_mean, rel=0.03)
    assert found.nonzeros_mean == pytest.approx(nonzeros_mean, rel=0.05)
    assert found.rows_without_labels == {"delicious.train": 10, "delicious.test": 4}.get(name, 0)


def test_a_real_file_equals_scikit_learn(tmp_path):
    """Every value and label of bibtex's test set is the one scikit-learn reads."""
    import gzip

    from sklearn.datasets import load_svmlight_file

    data = open_dataset(REAL / "bibtex.test.txt.gz", cache_dir=tmp_path)
    with gzip.open(REAL / "bibtex.test.txt.gz") as file, (tmp_path / "rows.txt").open("wb") as rows:
        next(file)
        shutil.copyfileobj(file, rows)
    matrix, labels = load_svmlight_file(
        str(tmp_path / "rows.txt"), n_features=1836, multilabel=True, zero_based=True, dtype=np.float32
    )
    assert (data.to_csr() != matrix).nnz == 0
    assert data.labels.tolist() == [int(x) for row in labels for x in sorted(row)]


def test_mnist_is_read(tmp_path):
    """The test images have 784 pixels, ten labels and the known first digits."""
    data = open_dataset(REAL / "t10k-images-idx3-ubyte.gz", cache_dir=tmp_path)
    assert (data.n_rows, data.n_features, data.n_labels) == (10_000, 784, 10)
    assert data.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert data.values.max() == 1.0
    assert data.values.min() > 0.0


@pytest.mark.slow
def test_the_large_set_is_read_at_speed_and_whole(tmp_path):
    """All rows of enwiki-para arrive; its label counts are the published ones."""
    found = info(REAL / "enwiki-para.train.txt.gz", cache_dir=tmp_path)
    assert (found.n_rows, found.n_features, found.n_labels) == (448_049, 95_070, 220_084)
    assert found.labels_with_one_instance == 124_525
    assert found.rows_without_labels == 0
    assert found.nonzeros_mean == pytest.approx(32, abs=0.5)
