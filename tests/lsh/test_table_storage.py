from __future__ import annotations

import json
import os

import numpy as np
import pytest

from distlsh.errors import ConfigError, StoreError, UsageError
from distlsh.lsh import Hasher, HashSpec, Tables, build, retrieve, table_specs

SPEC = HashSpec("fast_srp", 4, 5, 2, 24, seed=3)
N_ROWS = 300


def made(policy="fifo", sketch=False):
    weights = np.random.default_rng(0).standard_normal((N_ROWS, 24)).astype(np.float32)
    tables = Tables.create(SPEC, N_ROWS, 8, policy, seed=5, sketch=sketch)
    tables.center[:] = weights.mean(axis=0)
    build(tables, Hasher(SPEC), weights)
    return tables


@pytest.mark.parametrize("policy", ["fifo", "reservoir", "bottom_k"])
@pytest.mark.parametrize("mmap", [True, False])
def test_loaded_tables_equal_saved_ones(tmp_path, policy, mmap):
    """All that the tables hold, and how they hash, comes back; mapped or read."""
    tables = made(policy, sketch=True)
    tables.save(tmp_path / "tables")
    loaded = Tables.load(tmp_path / "tables", mmap=mmap)
    assert (loaded.spec, loaded.policy, loaded.seed) == (SPEC, policy, 5)
    for name in ("ids", "sizes", "seen", "unpaired", "center", "codes", "weights", "sketch"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(tables, name))
    queries = np.random.default_rng(1).standard_normal((6, 24)).astype(np.float32)
    codes = Hasher(loaded.spec).probes(queries)
    (one, found), (other, expected) = retrieve(loaded, codes), retrieve(tables, codes)
    assert found.tolist() == expected.tolist()
    for i, n in enumerate(found):
        assert one[i, :n].tolist() == other[i, :n].tolist()


def test_tables_that_were_read_can_be_changed_and_saved_again(tmp_path):
    """Tables read into memory go on as those saved would; saving replaces that folder alone."""
    planted = {f".tables.tmp-{os.getpid()}", f".tables.old-{os.getpid()}"}
    for name in planted:
        (tmp_path / name).mkdir()
    tables = made("reservoir")
    tables.save(tmp_path / "tables")
    again = Tables.load(tmp_path / "tables", mmap=False)
    ids = np.arange(40, dtype=np.int32)
    for one in (tables, again):
        one.remove(ids, one.codes[ids])
        one.insert(ids, one.codes[ids])
    np.testing.assert_array_equal(again.ids, tables.ids)
    again.save(tmp_path / "tables")
    np.testing.assert_array_equal(Tables.load(tmp_path / "tables").ids, tables.ids)
    assert {item.name for item in tmp_path.iterdir()} == {"tables", *planted}


def test_mapped_tables_cannot_be_changed(tmp_path):
    """Writing to mapped tables is refused with what to do, before anything is written."""
    made().save(tmp_path / "tables")
    mapped = Tables.load(tmp_path / "tables")
    with pytest.raises(UsageError, match="mmap=False"):
        mapped.insert(np.zeros(1, np.int32), np.zeros((1, 5), np.int32))
    with pytest.raises(UsageError, match="mmap=False"):
        mapped.clear()


def test_damaged_folders_are_refused(tmp_path):
    """A missing, short, altered or foreign file is an error that names it."""
    path = tmp_path / "tables"
    made().save(path)
    ids = (path / "ids.npy").read_bytes()
    (path / "ids.npy").write_bytes(ids[:-4])
    with pytest.raises(StoreError, match=r"ids\.npy.*bytes"):
        Tables.load(path)
    (path / "ids.npy").write_bytes(ids[:-1] + bytes([ids[-1] ^ 1]))
    with pytest.raises(StoreError, match=r"ids\.npy: damaged"):
        Tables.load(path)
    (path / "ids.npy").write_bytes(ids)
    (path / "codes.npy").unlink()
    with pytest.raises(StoreError, match=r"codes\.npy"):
        Tables.load(path)


def test_other_folders_are_refused(tmp_path):
    """What is not of tables, or of a later version, is not read, and never overwritten."""
    with pytest.raises(StoreError, match="holds no tables"):
        Tables.load(tmp_path)
    path = tmp_path / "tables"
    made().save(path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "version": 99}))
    with pytest.raises(StoreError, match="version 99"):
        Tables.load(path)
    (path / "manifest.json").write_text(json.dumps({**manifest, "spec": {"family": "srp"}}))
    with pytest.raises(StoreError, match="does not describe tables"):
        Tables.load(path)
    (path / "manifest.json").write_text("[]")
    with pytest.raises(StoreError, match="not a JSON object"):
        Tables.load(path)
    with pytest.raises(UsageError, match="holds no tables"):
        made().save(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.pop("policy"),
        lambda manifest: manifest.update(policy="lifo"),
        lambda manifest: manifest["arrays"].pop("seen"),
        lambda manifest: manifest["arrays"].update(seen=3),
        lambda manifest: manifest["spec"].update(n_tables=7),
        lambda manifest: manifest["arrays"]["center"].update(shape=[25]),
    ],
)
def test_manifests_that_do_not_fit_together_are_refused(tmp_path, change):
    """Missing settings or arrays, and shapes of other hash functions, are errors that name the file."""
    path = tmp_path / "tables"
    made().save(path)
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        StoreError, match=r"manifest\.json: does not describe tables|center\.npy: .* not what"
    ):
        Tables.load(path)


def test_impossible_sizes_are_refused():
    """Buckets without places would be written beyond their end."""
    with pytest.raises(ConfigError, match=r"lsh\.bucket_size must be 1 or more"):
        Tables.create(SPEC, N_ROWS, 0)


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("srp", "lsh.n_hashes"),
        ("cross_polytope", "lsh.n_hashes or lsh.dim"),
        ("dwta", "lsh.n_hashes or lsh.bin_size"),
        ("l2", "lsh.code_bits"),
    ],
)
def test_what_to_lower_makes_tables_smaller(family, key):
    """The keys that errors of memory name are those that the number of buckets follows from."""
    sizes = {item.name: item for item in table_specs(HashSpec(family, 2, 3, 0, 9), 10, 4)}
    assert sizes["tables.sizes"].lower == f"lsh.n_tables or {key}"


def test_only_tables_that_know_their_hashes_are_saved(tmp_path):
    """Codes mean nothing without the functions that made them."""
    specs = table_specs(SPEC, N_ROWS, 8)
    tables = Tables({item.name: np.zeros(item.shape, item.dtype) for item in specs}, 0)
    with pytest.raises(UsageError, match="spec"):
        tables.save(tmp_path / "tables")
    with pytest.raises(ConfigError, match="bucket_policy"):
        Tables.create(SPEC, N_ROWS, 8, "lifo")
