"""The store of parsed data: reused only when whole and of the same source, built once."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

import distlsh.data.opening as opening
from distlsh.config.schema import DataConfig, SynthConfig
from distlsh.data import Dataset, cache, open_dataset, open_pair, store
from distlsh.data.block import RowBlock
from distlsh.errors import ConfigError, DataError, ShapeError, StoreError

NEEDS_ROOT = pytest.mark.usefixtures("root")
TEXT = "3 10 5\n0,2 1:1.5 4:2\n 3:1\n4\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "small.train.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files parsed so far."""
    seen: list[Path] = []
    real = opening._parse_to_store

    def record(folder, files, *rest):
        seen.append(files[0])
        real(folder, files, *rest)

    monkeypatch.setattr(opening, "_parse_to_store", record)
    return seen


def big_source(tmp_path: Path, value: float = 1.0) -> Path:
    """A file whose store is larger than the sampled windows."""
    path = tmp_path / "big.txt"
    rows = "".join(f"{i % 5} {i % 10}:{value}\n" for i in range(60_000))
    path.write_text(f"60000 10 5\n{rows}")
    return path


def assert_small(data: Dataset) -> None:
    assert (data.n_rows, data.n_features, data.n_labels) == (3, 10, 5)
    assert data.indptr.tolist() == [0, 2, 3, 3]
    assert data.indices.tolist() == [1, 4, 3]
    assert data.values.tolist() == [1.5, 2.0, 1.0]
    assert data.label_indptr.tolist() == [0, 2, 2, 3]
    assert data.labels.tolist() == [0, 2, 4]


def test_a_file_is_parsed_once_and_then_mapped(source, builds):
    """The second opening parses nothing and sees the same read-only arrays of the agreed dtypes."""
    assert_small(open_dataset(source))
    data = open_dataset(source)
    assert_small(data)
    assert builds == [source]
    assert [array.dtype.str for array in (data.indptr, data.indices, data.values)] == ["<i8", "<i4", "<f4"]
    assert [array.dtype.str for array in (data.label_indptr, data.labels)] == ["<i8", "<i4"]
    assert not any(array.flags.writeable for array in (data.indptr, data.indices, data.values, data.labels))
    assert data.path is not None
    assert data.path.parent == source.parent / ".distlsh-cache"
    assert data.path.name.startswith("small-")
    assert data.source == "small.train.txt"


def test_arrays_of_the_store_are_plain_npy_files(source):
    """NumPy alone can read what the store holds."""
    data = open_dataset(source)
    assert np.load(data.path / "values.npy").tolist() == data.values.tolist()
    assert np.load(data.path / "indptr.npy", mmap_mode="r").dtype == np.int64


def test_data_without_any_entry_is_stored(tmp_path):
    """Rows without labels and features make empty arrays, not errors."""
    path = tmp_path / "empty.txt"
    path.write_text("2 10 5\n\n\n")
    for _ in range(2):
        data = open_dataset(path)
        assert (data.n_rows, len(data.indices), len(data.labels)) == (2, 0, 0)
        assert data.label_counts().tolist() == [0] * 5


def rewrite(source: Path, text: str, *, keep_time: bool = False) -> None:
    before = source.stat()
    source.write_text(text)
    if keep_time:
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_changed_source_is_parsed_again(source, builds, keep_time):
    """Other content is noticed, of the same length and even with the old modification time."""
    open_dataset(source)
    rewrite(source, TEXT.replace("1.5", "2.5"), keep_time=keep_time)
    assert open_dataset(source).values[0] == 2.5
    assert len(builds) == 2


def test_a_change_behind_the_sampled_bytes_is_noticed_by_its_time(tmp_path, builds):
    """Content between the sampled windows counts too, once the modification time differs."""
    path = big_source(tmp_path)
    open_dataset(path)
    text = path.read_text()
    at = text.index("\n", 20_000) + 1
    at = text.index(":1.0", at) + 1
    windows = list(store._windows(len(text)))
    assert not any(start <= at < start + 4096 for start in windows)
    rewrite(path, text[:at] + "9" + text[at + 1 :])
    os.utime(path, ns=(1, 1))
    assert open_dataset(path).values.max() == 9.0
    assert len(builds) == 2


def test_a_touched_or_moved_source_keeps_its_store(source, builds, tmp_path):
    """Another modification time with the same content, or a folder moved as a whole, parses nothing."""
    open_dataset(source)
    os.utime(source, ns=(1, 1))
    assert_small(open_dataset(source))
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.move(source, moved / source.name)
    shutil.move(source.parent / ".distlsh-cache", moved / ".distlsh-cache")
    assert_small(open_dataset(moved / source.name))
    assert builds == [source]


def test_other_settings_have_their_own_store(source, builds):
    """Normalised rows do not take the place of rows as they are."""
    assert open_dataset(source, normalize="l2").values[:2].tolist() == pytest.approx([0.6, 0.8])
    assert_small(open_dataset(source))
    assert open_dataset(source, normalize="l2").values[2] == 1.0
    assert len(builds) == 2


def test_unknown_settings_are_refused(source):
    """A format or normalisation that does not exist is named with those that do."""
    with pytest.raises(ConfigError, match=r"data.format: found 'csv', expected one of auto, xc"):
        open_dataset(source, format="csv")
    with pytest.raises(ConfigError, match=r"data.normalize: found 'max'"):
        open_dataset(source, normalize="max")


def edit_meta(path: Path, **changes: object) -> None:
    """Change ``meta.json`` as another version of the program would: with a right checksum."""
    content = json.loads((path / "meta.json").read_text())
    del content["checksum"]
    content.update(changes)
    content["checksum"] = store._checksum(content)
    (path / "meta.json").write_text(json.dumps(content))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(bytes(data))


DAMAGES = {
    "other version": lambda path: edit_meta(path, version=store.STORE_VERSION + 1),
    "other source": lambda path: edit_meta(path, sources=[]),
    "missing meta": lambda path: (path / "meta.json").unlink(),
    "cut meta": lambda path: (path / "meta.json").write_text((path / "meta.json").read_text()[:100]),
    "edited meta": lambda path: (path / "meta.json").write_text(
        (path / "meta.json").read_text().replace('"n_labels": 5', '"n_labels": 6')
    ),
    "meta of another shape": lambda path: (path / "meta.json").write_text("[1, 2]"),
    "missing array": lambda path: (path / "values.npy").unlink(),
    "short array": lambda path: (path / "values.npy").write_bytes((path / "values.npy").read_bytes()[:-4]),
    "long array": lambda path: (path / "values.npy").open("ab").write(b"1234"),
    "damaged header": lambda path: flip(path / "indices.npy", 20),
    "damaged data": lambda path: flip(path / "indices.npy", -1),
    "empty array": lambda path: (path / "labels.npy").write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_store_that_is_not_as_written_is_built_again(source, builds, damage):
    """Damage, another version and another source are found, and never read as data."""
    damage(open_dataset(source).path)
    assert_small(open_dataset(source))
    assert len(builds) == 2
    assert_small(open_dataset(source))
    assert len(builds) == 2


def test_damage_between_the_sampled_windows_is_found_when_the_file_changed(tmp_path):
    """A file whose size or time differs from the last full check is checked in full."""
    path = open_dataset(big_source(tmp_path)).path
    target = path / "values.npy"
    flip(target, 10_000)
    with pytest.raises(StoreError, match=r"values\.npy: does not match its checksum"):
        store.open_store(path)


def note_as_checked(path: Path) -> None:
    """Note the store's files as they are: a disk that goes bad changes no times either."""
    meta = store.read_meta(path)
    stats = {name: store._check_file(path, name, meta["arrays"][name]) for name in store._DTYPES}
    store._note(path, {**stats, "checks": store._CHECKS})


def test_silent_damage_is_found_on_demand(tmp_path):
    """`verify_store` reads every byte, whatever the times of the files say."""
    path = open_dataset(big_source(tmp_path)).path
    target = path / "values.npy"
    flip(target, 10_000)
    note_as_checked(path)
    store.open_store(path)
    with pytest.raises(StoreError, match="does not match its checksum"):
        store.verify_store(path)


def test_damage_in_a_sampled_window_is_found_though_the_time_is_old(tmp_path):
    """The windows are compared at every opening."""
    path = open_dataset(big_source(tmp_path)).path
    target = path / "values.npy"
    flip(target, -1)
    note_as_checked(path)
    with pytest.raises(StoreError, match="sampled checksum"):
        store.open_store(path)


def test_an_opening_of_an_unchanged_store_reads_only_windows(tmp_path, monkeypatch):
    """After the first full check, no whole array is read again."""
    path = open_dataset(big_source(tmp_path)).path

    def refuse(*_):
        raise AssertionError("a full check of an unchanged store")

    monkeypatch.setattr(store, "_verify_full", refuse)
    assert store.open_store(path).n_rows == 60_000


def test_a_failed_parse_leaves_no_store(source):
    """A malformed file leaves neither a store nor a temporary folder."""
    source.write_text(TEXT.replace("3:1", "3:x"))
    with pytest.raises(DataError):
        open_dataset(source)
    assert [entry.suffix for entry in (source.parent / ".distlsh-cache").iterdir()] == [".lock"]


def test_leftovers_of_a_dead_builder_are_removed(source):
    """What a killed builder left beside the store goes at the next build."""
    path = open_dataset(source).path
    shutil.rmtree(path)
    leftover = path.with_name(f".{path.name}.12345.tmp")
    leftover.mkdir()
    (leftover / "values.npy").write_bytes(b"half")
    assert_small(open_dataset(source))
    assert not leftover.exists()


def test_a_mapped_store_outlives_its_replacement(tmp_path):
    """Arrays mapped before a rebuild keep their content."""
    path = big_source(tmp_path)
    old = open_dataset(path)
    big_source(tmp_path, value=2.0)
    assert open_dataset(path).values.max() == 2.0
    assert old.values.max() == 1.0


def test_a_source_that_changes_while_read_is_refused(source, monkeypatch):
    """A file still being written is not kept as a store."""
    real = opening.TextReader.blocks

    def blocks(self):
        yield from real(self)
        source.write_text(TEXT + "\n")

    monkeypatch.setattr(opening.TextReader, "blocks", blocks)
    with pytest.raises(DataError, match="changed while it was read"):
        open_dataset(source)


def test_an_unwritable_folder_falls_back_to_the_user_cache(source, tmp_path_factory, monkeypatch, builds):
    """A read-only folder of data is left alone, and the store is shared from the user's cache."""
    user = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("DISTLSH_CACHE", str(user))
    source.parent.chmod(0o555)
    try:
        for _ in range(2):
            data = open_dataset(source)
            assert_small(data)
            assert data.path.parent == user / "data"
    finally:
        source.parent.chmod(0o755)
    assert builds == [source]
    assert not (source.parent / ".distlsh-cache").exists()


def test_files_of_one_name_do_not_share_a_store_in_the_user_cache(tmp_path):
    """In a common folder, stores are told apart by the whole path of their source."""
    for value in (1, 2):
        folder = tmp_path / str(value)
        folder.mkdir()
        (folder / "data.txt").write_text(f"1 3 1\n0 0:{value}\n")
    stores = [open_dataset(tmp_path / f"{v}" / "data.txt", cache_dir=tmp_path / "cache") for v in (1, 2)]
    assert [data.values.tolist() for data in stores] == [[1.0], [2.0]]
    assert stores[0].path != stores[1].path


def test_no_writable_folder_is_an_error_that_names_the_setting(source, tmp_path):
    """When no store can be written anywhere, the message says what to set."""
    blocked = tmp_path / "blocked"
    blocked.mkdir(mode=0o555)
    with pytest.raises(StoreError, match=r"set data\.cache_dir"):
        open_dataset(source, cache_dir=blocked)


def test_a_full_disk_is_named(source, monkeypatch):
    """Running out of room says so, and leaves no half store."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store._ArrayFile, "append", full)
    with pytest.raises(StoreError, match=r"the disk is full.*data\.cache_dir"):
        open_dataset(source)
    assert not [entry for entry in (source.parent / ".distlsh-cache").iterdir() if entry.is_dir()]


def test_threads_that_come_together_build_once(tmp_path, builds, monkeypatch):
    """Builders of one store wait for the first and share what it wrote."""
    path = big_source(tmp_path)
    real = opening.TextReader.blocks

    def slow(self):
        time.sleep(0.2)
        yield from real(self)

    monkeypatch.setattr(opening.TextReader, "blocks", slow)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(open_dataset(path).n_rows)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [60_000] * 4
    assert len(builds) == 1


_CHILD = """
import sys
from pathlib import Path
from distlsh.data import open_dataset
built = []
data = open_dataset(sys.argv[1], on_build=built.append)
print(data.n_rows, float(data.values.sum()), len(built))
"""


def test_processes_that_come_together_build_once(tmp_path):
    """Two processes started at the same time read the same store, and one of them built it."""
    path = big_source(tmp_path)
    command = [sys.executable, "-c", _CHILD, str(path)]
    cwd = Path(store.__file__).parents[2]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cwd) for _ in range(2)]
    answers = [child.communicate(timeout=120)[0].split() for child in children]
    assert [answer[:2] for answer in answers] == [["60000", "60000.0"]] * 2
    assert sorted(answer[2] for answer in answers) == ["0", "1"]
    assert len([entry for entry in (tmp_path / ".distlsh-cache").iterdir() if entry.is_dir()]) == 1


def test_where_locks_are_missing_the_store_is_still_built(source, monkeypatch):
    """A file system without locks costs the sharing of work, not the store."""
    import fcntl

    def refuse(*_):
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert_small(open_dataset(source))


def test_blocks_are_appended_one_after_another(tmp_path):
    """Offsets go on from block to block, whatever the size of the blocks."""
    one = RowBlock(*(np.array(a, t) for a, t in (([1, 0], "i4"), ([2, 1], "i4"), ([3], "i4"))), *_entries(3))
    with store.StoreWriter(tmp_path / "store") as writer:
        for _ in range(3):
            writer.append(one)
        writer.finish(10, 5, {})
    data = store.open_store(tmp_path / "store")
    assert data.indptr.tolist() == [0, 2, 3, 5, 6, 8, 9]
    assert data.label_indptr.tolist() == [0, 1, 1, 2, 2, 3, 3]
    assert data.indices.tolist() == [0, 1, 2] * 3
    assert store.store_bytes(tmp_path / "store") > 5 * 128


def _entries(n: int):
    return np.arange(n, dtype="i4"), np.ones(n, "f4")


def test_a_pair_agrees_on_the_larger_sizes(tmp_path):
    """Training and test set get the larger of the two headers' sizes."""
    (tmp_path / "train.txt").write_text("1 10 7\n0 1:1\n")
    (tmp_path / "test.txt").write_text("1 12 5\n4 11:1\n")
    calls: list[tuple[int, int]] = []
    config = DataConfig(train=str(tmp_path / "train.txt"), test=str(tmp_path / "test.txt"))
    train, test = open_pair(config, progress=lambda done, total: calls.append((done, total)))
    assert (train.n_features, train.n_labels) == (test.n_features, test.n_labels) == (12, 7)
    assert (
        calls[-1][0] == calls[-1][1] == sum((tmp_path / f"{n}.txt").stat().st_size for n in ("train", "test"))
    )


def test_a_pair_may_lack_a_test_set(source):
    """Without `data.test` the second of the pair is None."""
    train, test = open_pair(DataConfig(train=str(source)))
    assert_small(train)
    assert test is None


def test_a_pair_needs_one_source_of_training_data():
    """Neither a file nor generator settings, or both, is an error of the configuration."""
    with pytest.raises(ConfigError, match="neither given"):
        open_pair(DataConfig())
    with pytest.raises(ConfigError, match="both given"):
        open_pair(DataConfig(train="x", synth=SynthConfig()))


def test_from_csr_takes_sparse_and_dense_arrays():
    """SciPy arrays of any format and dense ones give the same canonical rows."""
    from scipy.sparse import coo_array, csr_array

    dense = np.array([[0, 2.0, 1], [0, 0, 0], [3, 0, 0]])
    expected = Dataset.from_csr(dense, [0, 2, 1])
    for made in (csr_array(dense), coo_array(dense), np.asfortranarray(dense.astype("f4"))):
        data = Dataset.from_csr(made, np.array([0, 2, 1]))
        for name in ("indptr", "indices", "values", "label_indptr", "labels"):
            assert getattr(data, name).tolist() == getattr(expected, name).tolist()
            assert getattr(data, name).dtype == getattr(expected, name).dtype
        assert (data.n_rows, data.n_features, data.n_labels) == (3, 3, 3)
    assert expected.to_csr().toarray().tolist() == dense.tolist()
    assert expected.n_bytes == 8 * 8 + 3 * 8 + 3 * 4


def test_from_csr_takes_labels_as_an_indicator_lists_or_nothing():
    """Labels may be an indicator matrix, one a row, several a row, or missing."""
    from scipy.sparse import csr_array

    rows = np.eye(3)
    indicator = csr_array(np.array([[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]))
    data = Dataset.from_csr(rows, indicator)
    assert (data.labels.tolist(), data.label_indptr.tolist(), data.n_labels) == ([1, 2, 0], [0, 2, 2, 3], 4)
    assert data.labels_csr().toarray().tolist() == indicator.toarray().tolist()
    lists = Dataset.from_csr(rows, [[2, 1, 2], [], [0]], n_labels=4)
    assert lists.labels.tolist() == data.labels.tolist()
    assert Dataset.from_csr(rows).n_labels == 0
    assert data.label_counts().tolist() == [1, 1, 1, 0]


def test_from_csr_refuses_what_does_not_fit():
    """Wrong shapes, ranges and values raise ShapeError and say which."""
    with pytest.raises(ShapeError, match="labels have 2 rows, features 3"):
        Dataset.from_csr(np.eye(3), [0, 1])
    with pytest.raises(ShapeError, match="does not fit n_labels=2"):
        Dataset.from_csr(np.eye(3), [0, 1, 2], n_labels=2)
    with pytest.raises(ShapeError, match="label -1 is negative"):
        Dataset.from_csr(np.eye(3), [0, -1, 2])
    with pytest.raises(ShapeError, match="1 dimensions"):
        Dataset.from_csr(np.ones(3))
    with pytest.raises(ShapeError, match="row 1 hold NaN"):
        Dataset.from_csr(np.array([[1.0, 0], [np.nan, 0]]))
    with pytest.raises(ShapeError, match="whole numbers"):
        Dataset.from_csr(np.eye(2), [0.5, 1.0])
    with pytest.raises(ShapeError, match="do not fit"):
        Dataset.from_csr(np.eye(3)).with_sizes(2, 0)


def test_a_pickled_data_set_is_mapped_again(tmp_path):
    """What crosses to another process is the place of the store, never its arrays."""
    data = open_dataset(big_source(tmp_path)).with_sizes(20, 30)
    message = pickle.dumps(data)
    assert len(message) < 1000
    again = pickle.loads(message)
    assert (again.n_features, again.n_labels, again.path) == (20, 30, data.path)
    assert np.array_equal(again.indices, data.indices)
    small = pickle.loads(pickle.dumps(Dataset.from_csr(np.eye(3), [0, 1, 2])))
    assert small.labels.tolist() == [0, 1, 2]


def test_the_user_cache_follows_the_environment(monkeypatch):
    """DISTLSH_CACHE comes first, then XDG_CACHE_HOME, then the home folder."""
    monkeypatch.setenv("DISTLSH_CACHE", "/a")
    assert cache.user_cache_dir() == Path("/a/data")
    monkeypatch.delenv("DISTLSH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache.user_cache_dir() == Path("/b/distlsh/data")


def crafted(source: Path, name: str, at: int, value: float, **sizes: int) -> Path:
    """The store of ``source`` with one number replaced, and all checksums made to fit."""
    path = open_dataset(source).path
    assert path is not None
    array = np.load(path / f"{name}.npy")
    if len(array):
        array[at] = value
    with (path / f"{name}.npy").open("r+b") as file:
        file.seek(store._HEADER_BYTES)
        file.write(array.tobytes())
    meta = json.loads((path / "meta.json").read_text())
    del meta["checksum"]
    meta |= sizes
    meta["arrays"][name]["crc32"] = zlib.crc32(array.tobytes())
    meta["arrays"][name]["sample_crc32"] = store._sample_crc(path / f"{name}.npy")
    store.write_json(path / "meta.json", {**meta, "checksum": store._checksum(meta)})
    return path


@pytest.mark.parametrize(
    ("name", "at", "value", "what"),
    [
        ("indices", 0, 10, "indices.npy: row 0"),
        ("indices", 2, -1, "indices.npy: row 1"),
        ("indices", 1, 1, "indices.npy: row 0"),
        ("labels", 2, 5, "labels.npy: row 2"),
        ("indptr", 1, 4, "indices.npy: row 0"),
        ("indptr", 1, -(2**63), "indices.npy: row 0"),
        ("indptr", 0, 1, "indices.npy: row 0"),
        ("label_indptr", 3, 2, "labels.npy: row 3"),
        ("values", 1, np.inf, "row 0 has inf for feature 4"),
    ],
)
def test_ids_out_of_range_are_refused_though_all_checksums_fit(source, name, at, value, what):
    """Kernels do not check ids, so a store whose ids do not fit its sizes is never opened."""
    path = crafted(source, name, at, value)
    with pytest.raises(StoreError, match=what):
        store.open_store(path)


def test_a_store_noted_as_checked_before_ids_were_is_checked_again(source):
    """What an earlier version noted does not count as a look at ids."""
    path = crafted(source, "labels", 0, 4)
    stats = {
        name: store._check_file(path, name, store.read_meta(path)["arrays"][name]) for name in store._DTYPES
    }
    (path / "verified.json").write_text(json.dumps(stats))
    with pytest.raises(StoreError, match="row 0"):
        store.open_store(path)


@NEEDS_ROOT
def test_what_another_user_noted_of_a_store_is_not_believed(source):
    """A note fits the files, but only this user's and root's save a look at every id."""
    path = crafted(source, "labels", 2, 5)
    note_as_checked(path)
    store.open_store(path)  # believed: that it fits is shown by this
    os.chown(path / "verified.json", 65534, 65534)
    with pytest.raises(StoreError, match=r"labels\.npy: row 2"):
        store.open_store(path)


def test_a_file_that_was_changed_and_dated_back_is_checked_again(source):
    """Sizes and modification times that fit the note do not make the files those that were checked."""
    path = open_dataset(source).path
    before = {file: file.stat().st_mtime_ns for file in path.glob("*.npy")}
    crafted(source, "labels", 2, 5)
    for file, mtime_ns in before.items():
        os.utime(file, ns=(mtime_ns, mtime_ns))
    with pytest.raises(StoreError, match=r"labels\.npy: row 2"):
        store.open_store(path)


@pytest.mark.parametrize(
    "sizes", [{"n_features": 2**40}, {"n_features": "10"}, {"n_labels": -1}, {"n_rows": 2}, {"sources": [3]}]
)
def test_a_store_that_says_what_cannot_be_is_refused(source, sizes):
    """Sizes of the wrong type or range are an error about meta.json, before anything is allocated."""
    path = crafted(source, "labels", 0, 0, **sizes)
    with pytest.raises(StoreError, match=r"meta\.json does not describe a store"):
        store.open_store(path)
