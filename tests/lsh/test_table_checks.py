"""Tables from files are looked at before kernels may trust them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from distlsh.errors import StoreError
from distlsh.lsh import Hasher, HashSpec, Tables, build
from distlsh.lsh.checks import check_arrays
from distlsh.lsh.layout import table_specs
from distlsh.lsh.storage import _checksum

SPEC = HashSpec("fast_srp", 3, 4, 1, 16, seed=2)
N_ROWS = 120


def arrays(policy="fifo", sketch=False):
    """Both buffers of built tables, generation 1 in the second."""
    found = {
        item.name: np.zeros(item.shape, item.dtype)
        for item in table_specs(SPEC, N_ROWS, 8, policy=policy, sketch=sketch)
    }
    found["tables.codes"][...] = -1
    weights = np.random.default_rng(0).standard_normal((N_ROWS, 16)).astype(np.float32)
    build(Tables(found, 1, policy), Hasher(SPEC), weights)
    found["tables.generation"][0] = 1
    return found


@pytest.mark.parametrize("policy", ["fifo", "reservoir", "bottom_k"])
def test_tables_as_they_are_built_pass(policy):
    """Nothing is said against tables of any policy, nor where the idle buffer holds anything at all."""
    found = arrays(policy, sketch=True)
    found["tables.ids"][0] = -7
    check_arrays(found, SPEC, N_ROWS, policy)


def full_bucket(found):
    return tuple(np.argwhere(found["tables.sizes"][1] > 1)[0])


def break_id(found, value):
    found["tables.ids"][(1, *full_bucket(found), 0)] = value


def repeat_id(found):
    bucket = found["tables.ids"][(1, *full_bucket(found))]
    bucket[1] = bucket[0]


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("tables.ids", lambda a: break_id(a, N_ROWS)),
        ("tables.ids", lambda a: break_id(a, -1)),
        ("tables.ids", repeat_id),
        ("tables.ids", lambda a: a["tables.sizes"].__setitem__((1, 0, 0), 9)),
        ("tables.ids", lambda a: a["tables.sizes"].__setitem__((1, 0, 0), -1)),
        ("tables.codes", lambda a: a["tables.codes"].__setitem__((5, 0), SPEC.n_buckets)),
        ("tables.codes", lambda a: a["tables.codes"].__setitem__((5, 0), -2)),
        ("tables.seen", lambda a: a["tables.seen"].__setitem__((1, 0, 0), -1)),
        ("tables.unpaired", lambda a: a["tables.unpaired"].__setitem__((1, 0, 0), -1)),
        ("tables.generation", lambda a: a["tables.generation"].__setitem__(0, -1)),
    ],
)
def test_what_kernels_could_not_take_is_refused(what, spoil):
    """An id, size, code or count out of range, and an id twice in a bucket, are errors naming the array."""
    found = arrays()
    spoil(found)
    with pytest.raises(StoreError, match=what):
        check_arrays(found, SPEC, N_ROWS)


@pytest.mark.parametrize("name", ["tables.ids", "tables.sizes", "tables.codes", "tables.center"])
def test_shapes_types_and_order_are_those_of_the_hash_functions(name):
    """A missing array, another shape, another type and Fortran order are refused."""
    good = arrays()
    spoilt = (good[name][:, :1], good[name].astype(np.float64), np.asfortranarray(good[name]))
    for array in spoilt:
        with pytest.raises(StoreError, match=name):
            check_arrays({**good, name: array}, SPEC, N_ROWS, contents=False)
    with pytest.raises(StoreError, match=name):
        check_arrays({key: value for key, value in good.items() if key != name}, SPEC, N_ROWS)


def test_saved_tables_with_right_checksums_but_wrong_ids_are_refused(tmp_path):
    """A crafted file whose checksum fits is still looked at."""
    tables = Tables.create(SPEC, N_ROWS, 8)
    build(tables, Hasher(SPEC), np.random.default_rng(0).standard_normal((N_ROWS, 16)).astype(np.float32))
    tables.save(tmp_path / "tables")
    ids = np.load(tmp_path / "tables" / "ids.npy")
    ids[ids == ids.max()] = 2**31 - 1
    np.save(tmp_path / "tables" / "ids.npy", ids)
    file = tmp_path / "tables" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["arrays"]["ids"]["crc32"] = _checksum(ids)
    file.write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="bucket"):
        Tables.load(tmp_path / "tables")
