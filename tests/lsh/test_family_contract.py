"""One contract for all hash families: what holds whatever the hash is."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse

from distlsh.errors import ConfigError, ShapeError
from distlsh.lsh import Hasher, HashSpec
from distlsh.lsh.families import FAMILIES, describe
from distlsh.lsh.rows import SparseRows

SPECS = {
    "cross_polytope": dict(n_hashes=2, n_tables=7, dim=16),
    "srp": dict(n_hashes=9, n_tables=13),
    "fast_srp": dict(n_hashes=9, n_tables=13),
    "sparse_srp": dict(n_hashes=9, n_tables=13),
    "wta": dict(n_hashes=3, n_tables=7, bin_size=8),
    "dwta": dict(n_hashes=3, n_tables=7, bin_size=8),
    "l2": dict(n_hashes=4, n_tables=7, l2_width=2.0, code_bits=9),
}
CODES = {
    "cross_polytope": [[630, 752, 675], [404, 103, 269], [281, 996, 295]],
    "srp": [[20, 120, 186], [168, 151, 225], [439, 305, 414]],
    "fast_srp": [[375, 229, 394], [78, 278, 33], [435, 230, 414]],
    "sparse_srp": [[267, 150, 86], [22, 379, 365], [348, 201, 427]],
    "wta": [[51, 304, 473], [129, 350, 376], [76, 138, 423]],
    "dwta": [[51, 304, 473], [129, 350, 376], [76, 138, 423]],
    "l2": [[469, 370, 201], [421, 86, 346], [458, 137, 194]],
}
SETS = dict(n_hashes=4, n_tables=7, code_bits=9)
WIDTHS = (5, 16, 64, 100, 300)
VECTORS = [name for name in FAMILIES if "jaccard" not in describe(name).metrics]
PROBING = [name for name in FAMILIES if describe(name).probes]
CENTERED = [name for name in FAMILIES if describe(name).center]


def spec_of(family, n_dims, **changes):
    probes = {"n_probes": 4 if describe(family).probes else 0}
    return HashSpec(**{"family": family, "n_dims": n_dims, **probes, **SPECS.get(family, SETS), **changes})


def rows_of(family, m, n_dims, seed=0):
    """Normal vectors, or random sets."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((m, n_dims)).astype(np.float32)
    if "jaccard" in describe(family).metrics:
        rows = (rows > 1).astype(np.float32)
    return rows


def half_empty(m, n_dims, seed=0):
    """Rows of which most coordinates are 0, one all of them, and one full."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((m, n_dims)).astype(np.float32)
    rows[random.random(rows.shape) < 0.85] = 0
    rows[1], rows[2] = 0, random.standard_normal(n_dims)
    return rows


def sparse(rows):
    return SparseRows.of(scipy.sparse.csr_array(rows))


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(params=PROBING)
def probing(request):
    return request.param


@pytest.mark.parametrize("n_dims", WIDTHS)
def test_shape_dtype_and_range(family, n_dims):
    """Codes are i4[m, L], probes i4[m, L, C], scores f4 of their shape, all in the buckets' range."""
    hasher = Hasher(spec_of(family, n_dims))
    rows = rows_of(family, 21, n_dims)
    codes, probes = hasher.codes(rows), hasher.probes(rows)
    assert codes.dtype == probes.dtype == np.int32
    assert codes.shape == (21, hasher.spec.n_tables)
    assert probes.shape == (21, hasher.spec.n_tables, hasher.spec.n_codes)
    assert codes.min() >= 0
    assert max(codes.max(), probes.max()) < hasher.spec.n_buckets


@pytest.mark.parametrize("n_dims", WIDTHS)
def test_codes_do_not_depend_on_the_batch(family, n_dims):
    """Hashing 300 vectors at once, singly, or from another place in the batch gives the same codes."""
    hasher = Hasher(spec_of(family, n_dims))
    rows = rows_of(family, 300, n_dims)
    codes, probes = hasher.codes(rows), hasher.probes(rows)
    for i in (0, 15, 16, 255, 256, 299):
        np.testing.assert_array_equal(hasher.codes(rows[i : i + 1])[0], codes[i])
        np.testing.assert_array_equal(hasher.probes(rows[i : i + 1])[0], probes[i])
    np.testing.assert_array_equal(hasher.codes(rows[5:])[:20], codes[5:25])


@pytest.mark.parametrize("n_dims", WIDTHS)
def test_sparse_rows_hash_like_dense_ones(family, n_dims):
    """Codes, probes and scores are the same to the last bit, with and without dense rows among them."""
    hasher, rows = Hasher(spec_of(family, n_dims)), half_empty(300, n_dims)
    np.testing.assert_array_equal(hasher.codes(sparse(rows)), hasher.codes(rows))
    for of_sparse, of_dense in zip(
        hasher.probes_scored(sparse(rows)), hasher.probes_scored(rows), strict=True
    ):
        np.testing.assert_array_equal(of_sparse, of_dense)
    block = sparse(rows).block(100, 130)
    np.testing.assert_array_equal(hasher.codes(block), hasher.codes(rows[100:130]))


def assert_singly_alike(spec, rows, center=None):
    """Vectors alone and in pairs have, by their own kernels, what those for many compute."""
    single, many = Hasher(spec), Hasher(spec, one_by_one=False)
    for given in (rows, sparse(rows)):
        codes = many.codes(given, center=center)
        probes, scores = many.probes_scored(given, center=center)
        for i, last in ((0, 1), (1, 2), (2, 4), (3, 4), (4, 5), (5, 7)):
            some = given.block(i, last) if isinstance(given, SparseRows) else given[i:last]
            np.testing.assert_array_equal(single.codes(some, center=center), codes[i:last])
            np.testing.assert_array_equal(single.probes(some, center=center), probes[i:last])
            found, scored = single.probes_scored(some, center=center)
            np.testing.assert_array_equal(found, probes[i:last])
            np.testing.assert_array_equal(scored, scores[i:last])


@pytest.mark.parametrize("n_dims", [*WIDTHS, 1000])
@pytest.mark.parametrize("probing", [{}, {"probe_order": "global"}, {"probing": "step_wise", "n_probes": 11}])
def test_single_vectors_hash_like_many(family, n_dims, probing):
    """Codes, probes and scores of single vectors are, to the last bit, those of a batch, dense and sparse."""
    if not describe(family).probes:
        probing = {key: value for key, value in probing.items() if key != "n_probes"}
    spec = spec_of(family, n_dims, **probing)
    rows = half_empty(7, n_dims)
    rows[3:5] = rows_of(family, 2, n_dims, 1)
    assert_singly_alike(spec, rows)
    assert_singly_alike(replace(spec, n_probes=0), rows)
    if describe(family).center:
        assert_singly_alike(spec, rows, rows_of(family, 1, n_dims, 2)[0])


@pytest.mark.parametrize(
    "family, changes",
    [
        ("cross_polytope", dict(dim=4, n_hashes=3)),
        ("cross_polytope", dict(dim=256, n_hashes=1, n_tables=19)),
        ("sparse_srp", dict(density=0.02)),
        ("srp", dict(n_hashes=12, n_tables=40)),
        ("wta", dict(bin_size=2, n_hashes=8, n_tables=17)),
        ("dwta", dict(bin_size=16)),
        ("dwta", dict(n_probes=0, n_hashes=2, n_tables=60)),
    ],
)
def test_single_vectors_of_other_sizes(family, changes):
    """The same with narrow and wide blocks and bins, low densities, many tables."""
    assert_singly_alike(spec_of(family, 150, **changes), half_empty(7, 150))


@pytest.mark.parametrize("family", VECTORS)
def test_odd_single_vectors(family):
    """NaN, infinities and denormal numbers have the same codes alone."""
    rows = rows_of(family, 7, 100)
    rows[0], rows[1, 7], rows[2, 7], rows[3], rows[4, ::3] = np.nan, np.inf, np.nan, 1e-42, -np.inf
    single, many = (Hasher(spec_of(family, 100), one_by_one=alone) for alone in (True, False))
    codes = many.codes(rows)
    for i in range(7):
        np.testing.assert_array_equal(single.codes(rows[i : i + 1])[0], codes[i])


@pytest.mark.parametrize("width", [64, 128, 256, 512, 1024, 2048, 4096, 8192, 1 << 14, 1 << 15, 1 << 17])
def test_single_rotations_are_those_of_blocks(width):
    """Every width of a rotation gives, to the last bit, the coordinates of the same vector in a block."""
    from distlsh.lsh.families.rotations import Rotations

    turns = Rotations(HashSpec("fast_srp", 1, 70, 0, width))
    vector = np.random.default_rng(width).standard_normal(width).astype(np.float32)
    one, block = (np.zeros((70, 16), np.float32) for _ in range(2))
    turns.project(np.repeat(vector[np.newaxis, :, np.newaxis], 16, axis=2), block[np.newaxis])
    turns.one()(vector, one)
    np.testing.assert_array_equal(one[:, 0], block[:, 0])


def test_many_features_do_not_disturb(family):
    """Rows of 30,000 dimensions, loaded after others, hash as they do alone; minus zero is zero."""
    n_dims = 30_000
    hasher = Hasher(spec_of(family, n_dims, n_tables=3))
    rows = scipy.sparse.random_array(
        (40, n_dims), density=0.001, format="csr", dtype=np.float32, rng=np.random.default_rng(1)
    )
    codes = hasher.codes(SparseRows.of(rows))
    dense = rows.toarray()
    np.testing.assert_array_equal(hasher.codes(np.where(dense == 0, np.float32(-0.0), dense)), codes)
    np.testing.assert_array_equal(hasher.codes(SparseRows.of(rows[7:8]))[0], codes[7])


@pytest.mark.parametrize("family", CENTERED)
def test_center_is_subtracted(family):
    """Codes relative to a center are those of the differences, dense and sparse; rows stay as they are."""
    hasher = Hasher(spec_of(family, 100))
    rows, center = half_empty(40, 100), rows_of(family, 1, 100, 5)[0]
    before = rows.copy()
    expected = hasher.codes(rows - center)
    np.testing.assert_array_equal(hasher.codes(rows, center=center), expected)
    np.testing.assert_array_equal(hasher.codes(sparse(rows), center=center), expected)
    np.testing.assert_array_equal(hasher.probes(sparse(rows), center=center), hasher.probes(rows - center))
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in CENTERED])
def test_sets_have_no_center(family):
    """A family that hashes sets refuses a center, and says so."""
    with pytest.raises(ConfigError, match="center"):
        Hasher(spec_of(family, 20)).codes(rows_of(family, 2, 20), center=np.zeros(20, np.float32))


def test_seed_alone_decides(family):
    """Equal specs hash alike; another seed hashes otherwise."""
    rows = rows_of(family, 64, 100)
    codes = Hasher(spec_of(family, 100)).codes(rows)
    np.testing.assert_array_equal(codes, Hasher(spec_of(family, 100)).codes(rows))
    others = Hasher(spec_of(family, 100, seed=2)).codes(rows)
    assert np.mean(codes == others) < 0.1


@pytest.mark.parametrize("family", sorted(CODES))
def test_codes_of_a_seed_stay_as_they_are(family):
    """Codes are part of saved tables: they must not change from release to release, nor with the machine."""
    spec = spec_of(family, 70)
    rows = (np.arange(3 * 70).reshape(3, 70) * 37 % 23 - 11).astype(np.float32)
    assert Hasher(spec).codes(rows)[:, :3].tolist() == CODES[family]


def test_tables_differ(family):
    """No two tables of a hasher give the same codes."""
    codes = Hasher(spec_of(family, 100)).codes(rows_of(family, 64, 100))
    for one, other in itertools.combinations(codes.T, 2):
        assert np.mean(one == other) < 0.3


def test_every_bucket_is_reachable(family):
    """All bits of a code are used: random vectors reach nearly all buckets of every table."""
    hasher = Hasher(spec_of(family, 100))
    codes = hasher.codes(rows_of(family, 40 * hasher.spec.n_buckets, 100))
    for table in codes.T:
        assert len(np.unique(table)) > 0.97 * hasher.spec.n_buckets


@pytest.mark.parametrize("family", VECTORS)
def test_odd_vectors_have_codes(family):
    """Zeros, NaN, infinities and denormal numbers get codes in range, and do not disturb their neighbours."""
    hasher = Hasher(spec_of(family, 100))
    rows = rows_of(family, 20, 100)
    clean = hasher.codes(rows)
    rows[3], rows[4], rows[5, 7], rows[6] = 0, np.nan, np.inf, 1e-42
    with np.errstate(all="ignore"):
        codes, probes = hasher.codes(rows), hasher.probes(rows)
    assert codes.min() >= 0
    assert probes.min() >= -1
    assert max(codes.max(), probes.max()) < hasher.spec.n_buckets
    others = [i for i in range(20) if i not in (3, 4, 5, 6)]
    np.testing.assert_array_equal(codes[others], clean[others])


def test_output_arrays_are_filled_in_place(family):
    """Given arrays are written and returned; empty batches are fine; memory maps may be read-only."""
    hasher = Hasher(spec_of(family, 64))
    rows = rows_of(family, 3, 64)
    rows.flags.writeable = False
    out = np.full((3, hasher.spec.n_tables), -5, np.int32)
    assert hasher.codes(rows, out) is out
    assert out.min() >= 0
    assert hasher.codes(rows[:0]).shape == (0, hasher.spec.n_tables)
    assert hasher.codes(sparse(rows).block(1, 1)).shape == (0, hasher.spec.n_tables)
    assert hasher.probes(rows[:0]).shape == (0, hasher.spec.n_tables, hasher.spec.n_codes)


def test_wrong_arrays_are_refused(family):
    """Another width, output shape, dtype, order or kind is an error that says what is taken."""
    hasher = Hasher(spec_of(family, 64))
    rows, shape = rows_of(family, 3, 64), (3, hasher.spec.n_tables)
    with pytest.raises(ShapeError, match=r"\(m, 64\)"):
        hasher.codes(rows[:, :63].copy())
    with pytest.raises(ShapeError, match=r"\(m, 64\)"):
        hasher.codes(sparse(rows[:, :63]))
    with pytest.raises(ShapeError, match="must be"):
        hasher.codes(rows, np.empty((2, 2), np.int32))
    for wrong in (np.empty((3, 2 * shape[1]), np.int32)[:, ::2], np.empty(shape, np.int64)):
        with pytest.raises(TypeError, match="int32 in C order"):
            hasher.codes(rows, wrong)
    with pytest.raises(TypeError):
        hasher.codes(np.zeros((3, 64)))
    with pytest.raises(TypeError):
        hasher.codes(rows_of(family, 3, 128)[:, ::2])
    with pytest.raises(TypeError, match="SparseRows"):
        hasher.codes(scipy.sparse.csr_array(rows))
    if describe(family).center:
        with pytest.raises(ShapeError, match="center"):
            hasher.codes(rows, center=np.zeros(3, np.float32))


# --- probes


@pytest.mark.parametrize("n_dims", [5, 64, 300])
@pytest.mark.parametrize("n_probes", [0, 1, 2, 3, 4, 7, 12])
@pytest.mark.parametrize("order", ["table", "global"])
def test_own_code_comes_first_and_probes_are_distinct(probing, n_dims, n_probes, order):
    """A query looks into its own bucket first, and into no bucket twice; used places come first."""
    hasher = Hasher(spec_of(probing, n_dims, n_probes=n_probes, probe_order=order))
    rows = rows_of(probing, 18, n_dims)
    probes = hasher.probes(rows)
    np.testing.assert_array_equal(probes[:, :, 0], hasher.codes(rows))
    for table in probes.reshape(-1, hasher.spec.n_codes):
        kept = table[table >= 0].tolist()
        assert len(set(kept)) == len(kept)
        assert np.all(table[: len(kept)] >= 0)


@pytest.mark.parametrize("how", ["query_directed", "step_wise"])
@pytest.mark.parametrize("order", ["table", "global"])
def test_probes_go_by_score(probing, how, order):
    """Scores start at 0 for the own code, never fall within a table, and are infinite where EMPTY."""
    hasher = Hasher(spec_of(probing, 64, n_probes=6, probing=how, probe_order=order))
    rows = rows_of(probing, 30, 64)
    probes, scores = hasher.probes_scored(rows)
    np.testing.assert_array_equal(probes, hasher.probes(rows))
    assert scores.shape == probes.shape and scores.dtype == np.float32
    assert np.all(scores[:, :, 0] == 0)
    np.testing.assert_array_equal(np.isinf(scores), probes < 0)
    assert np.all(scores[:, :, 1:] >= scores[:, :, :-1])
    if how == "step_wise":
        assert np.all(np.mod(scores[np.isfinite(scores)], 1) == 0)


def test_fewer_probes_are_the_first_of_more(probing):
    """The scores of a table's first probes do not depend on how many are asked for."""
    rows = rows_of(probing, 30, 64)
    few = Hasher(spec_of(probing, 64, n_probes=3)).probes_scored(rows)[1]
    many = Hasher(spec_of(probing, 64, n_probes=9)).probes_scored(rows)[1]
    np.testing.assert_array_equal(many[:, :, :4], few)


def test_global_order_keeps_the_best_over_tables(probing):
    """Of all tables' longer lists the L * P of least score, less the list's mean, stay with the own codes."""
    spec = spec_of(probing, 64, n_probes=2, probe_order="global")
    assert spec.n_codes == 9
    rows = rows_of(probing, 30, 64)
    probes, scores = Hasher(spec).probes_scored(rows)
    lists, listed = Hasher(spec_of(probing, 64, n_probes=8)).probes_scored(rows)
    kept = probes >= 0
    np.testing.assert_array_equal(probes[kept], lists[kept])
    assert kept[:, :, 0].all()
    np.testing.assert_array_equal(scores[kept], listed[kept])
    above = listed - np.nanmean(np.where(lists < 0, np.nan, listed), axis=2, keepdims=True)
    for i in range(len(rows)):
        best = np.sort(above[i, :, 1:][np.isfinite(above[i, :, 1:])])[: spec.n_tables * spec.n_probes]
        np.testing.assert_allclose(np.sort(above[i, :, 1:][kept[i, :, 1:]]), best, rtol=1e-4, atol=1e-4)
    assert len(np.unique(kept.sum(axis=2))) > 1


@pytest.mark.parametrize("family", [name for name in FAMILIES if not describe(name).probes])
def test_families_without_probes_say_so(family):
    """Asking such a family for probes is an error; without, `probes` gives the code itself."""
    with pytest.raises(ConfigError, match="n_probes"):
        spec_of(family, 20, n_probes=1)
    hasher, rows = Hasher(spec_of(family, 20)), rows_of(family, 9, 20)
    probes, scores = hasher.probes_scored(rows)
    np.testing.assert_array_equal(probes[:, :, 0], hasher.codes(rows))
    assert not scores.any()


# --- transforms, and what is loaded when


@pytest.mark.parametrize("family", VECTORS)
@pytest.mark.parametrize("kind", ["simple", "l2_alsh", "sign_alsh"])
def test_transformed_rows_and_queries(family, kind):
    """Codes are those of the transformed rows, probes those of transformed queries, in any batch."""
    from distlsh.lsh import transforms

    spec = spec_of(family, 30, transform=kind)
    hasher, plain = Hasher(spec), Hasher(spec.hashed)
    rows = rows_of(family, 1100, 30)
    largest = transforms.largest_norm(rows)
    codes = hasher.codes(rows, max_norm=largest)
    np.testing.assert_array_equal(codes, plain.codes(transforms.rows(kind, rows, largest)))
    np.testing.assert_array_equal(hasher.codes(sparse(rows), max_norm=largest), codes)
    np.testing.assert_array_equal(hasher.probes(rows), plain.probes(transforms.queries(kind, rows)))
    center = rows[3]
    moved = hasher.codes(rows - center, max_norm=largest)
    np.testing.assert_array_equal(hasher.codes(rows, center=center, max_norm=largest), moved)
    with pytest.raises(ConfigError, match="max_norm"):
        hasher.codes(rows)


def test_kernels_for_single_vectors_are_loaded_when_needed():
    """Batches, and hashers that shall not, load no kernels for single vectors; the first one does."""
    code = (
        "import sys, numpy as np; from distlsh.lsh import Hasher, HashSpec; "
        "spec, rows = HashSpec('fast_srp', 2, 2, 0, 8), np.ones((3, 8), np.float32); "
        "loaded = lambda: [m for m in sys.modules if m.startswith('distlsh.kernels.one_')]; "
        "one, other = Hasher(spec), Hasher(spec, one_by_one=False); "
        "one.codes(rows); other.codes(rows[:1]); print(loaded()); "
        "one.codes(rows[:1]); print(sorted(loaded()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = found.stdout.split("\n")[:2]
    assert before == "[]"
    assert after == "['distlsh.kernels.one_rotation', 'distlsh.kernels.one_vector']"


def test_a_family_loads_its_own_kernels_alone():
    """Importing the library, and hashing by one family, compiles no other family's kernels."""
    code = (
        "import sys; from distlsh.lsh import Hasher, HashSpec; "
        "before = [m for m in sys.modules if m.startswith('distlsh.lsh.families.')]; "
        "Hasher(HashSpec('fast_srp', 2, 2, 0, 8)); "
        "print(before, [m for m in sys.modules if m in ('distlsh.kernels.gaussian', 'distlsh.kernels.dwta')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['distlsh.lsh.families.base'] []"
