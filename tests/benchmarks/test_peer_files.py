from __future__ import annotations

import numpy as np
import pytest
from comparison import prepare
from comparison.prepare import of_some_labels, sample_rows, split, take, write_rows

from distlsh import open_dataset
from distlsh.data.dataset import Dataset


@pytest.fixture
def data(rng):
    features = rng.random((60, 12), dtype=np.float32) * (rng.random((60, 12)) < 0.4)
    labels = [[int(i) for i in rng.permutation(20)[: 1 + i % 3]] for i in range(60)]
    return Dataset.from_csr(features, labels, n_labels=20)


def test_written_rows_are_read_back_bit_for_bit(data, tmp_path):
    """The text and the arrays of a stem hold the same rows, to the last bit of the values."""
    write_rows(str(tmp_path / "rows"), data)
    parsed = open_dataset(tmp_path / "rows.txt", cache_dir=tmp_path)
    for name in prepare.ARRAYS:
        saved = np.load(tmp_path / f"rows.{name}.npy")
        assert np.array_equal(saved, getattr(data, name))
        assert np.array_equal(saved, getattr(parsed, name))


def test_a_sample_of_rows_is_seeded_ascending_and_without_repeats():
    """The sample of test rows is the same for a seed, in the order of the file."""
    rows = sample_rows(100, 20, np.random.default_rng(3))
    assert np.array_equal(rows, sample_rows(100, 20, np.random.default_rng(3)))
    assert len(np.unique(rows)) == 20
    assert np.all(np.diff(rows) > 0)
    assert len(sample_rows(100, 0, np.random.default_rng(3))) == 100


def test_a_subset_by_labels_keeps_how_many_instances_a_label_has(data):
    """Chosen labels come with all their instances: their counts are counts of the whole data."""
    subset = of_some_labels(data, 20, np.random.default_rng(1))
    assert 0 < subset.n_labels < data.n_labels
    assert subset.n_rows < data.n_rows
    whole = sorted(data.label_counts().tolist())
    for count in subset.label_counts().tolist():
        whole.remove(count)


def test_a_subset_by_labels_that_asks_for_all_keeps_all(data):
    """Asked for more rows than there are, all labels are taken."""
    subset = of_some_labels(data, 10_000, np.random.default_rng(1))
    assert (subset.n_rows, subset.n_labels) == (data.n_rows, data.n_labels)


def test_a_split_leaves_every_label_something_to_learn_from(data):
    """No label is only in the rows to check on, and no row is in both parts."""
    learn, check = split(data, 15, np.random.default_rng(2))
    assert len(check) > 0
    assert not set(learn) & set(check)
    assert len(learn) + len(check) == data.n_rows
    seen = data.label_counts() > 0
    assert np.array_equal(take(data, learn).label_counts() > 0, seen)


def test_prepared_files_are_reused_for_the_same_question_only(data, tmp_path):
    """The same files, rows and seed give what lies there; another number of rows writes anew."""
    write_rows(str(tmp_path / "a"), data)
    ask = (tmp_path / "a.txt", tmp_path / "a.txt", tmp_path / "out")
    full, search = prepare.prepare(*ask, 10, 30, 1)
    assert (full.train_rows, full.test_rows) == (60, 10)
    assert search.train_rows + search.test_rows <= 60
    written = (tmp_path / "out" / "full.test.txt").stat().st_mtime_ns
    assert prepare.prepare(*ask, 10, 30, 1) == (full, search)
    assert (tmp_path / "out" / "full.test.txt").stat().st_mtime_ns == written
    assert prepare.prepare(*ask, 12, 30, 1)[0].test_rows == 12
