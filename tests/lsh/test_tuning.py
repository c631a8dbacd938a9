"""Choosing hash functions from a goal: what is estimated is what real tables do."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from distlsh.config.load import parse_config
from distlsh.errors import ShapeError, UsageError
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.maintain import build
from distlsh.lsh.rows import SparseRows
from distlsh.lsh.sampler import retrieve
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tables import Tables, table_specs
from distlsh.lsh.tuning import Goal, pose, solve, tune
from distlsh.lsh.tuning.buckets import bucket_populations, with_overflow
from distlsh.lsh.tuning.curves import collision_curve
from distlsh.lsh.tuning.measure import Hashed, measure
from distlsh.lsh.tuning.neighbours import exact_neighbours
from distlsh.lsh.tuning.tune import tables_by_formula

SPECS = {
    "cross_polytope": HashSpec("cross_polytope", 2, 12, 3, n_dims=32, dim=16, seed=3),
    "fast_srp": HashSpec("fast_srp", 8, 12, 3, n_dims=32, seed=3),
    "dwta": HashSpec("dwta", 3, 12, 3, n_dims=32, seed=3),
}


def planted(n=4000, n_dims=32, size=20, noise=0.5, seed=0, part=0):
    """Clusters of about ``size`` rows; ``part`` draws other rows of the same clusters."""
    centers = np.random.default_rng(seed).standard_normal((n // size, n_dims))
    random = np.random.default_rng((seed, part))
    rows = centers[random.integers(0, len(centers), n)] + noise * random.standard_normal((n, n_dims))
    return rows.astype(np.float32)


SMALL = dict(families=["cross_polytope", "fast_srp"], max_tables=24, max_probes=4, sample=256)


@pytest.fixture(scope="module")
def tuned():
    """Return a tuning that other tests look at."""
    return tune(planted(), target_recall=0.8, k=5, **SMALL)


@pytest.fixture(scope="module")
def fonts():
    """Let matplotlib open its fonts, which stay open, before descriptors are counted."""
    figure = pytest.importorskip("matplotlib.figure").Figure(layout="constrained")
    figure.subplots().loglog([1, 1000], label="x")
    figure.axes[0].legend()
    figure.savefig(io.BytesIO())


def real_tables(spec, rows, bucket_size=None):
    codes = Hasher(spec).codes(rows)
    bucket_size = bucket_size or max(np.bincount(codes[:, i]).max() for i in range(spec.n_tables))
    arrays = {a.name: np.zeros(a.shape, a.dtype) for a in table_specs(spec, len(rows), bucket_size)}
    arrays["tables.codes"][...] = -1
    tables = Tables(arrays, 0)
    build(tables, Hasher(spec), rows)
    return tables


def found_by(tables, spec, queries):
    ids, counts = retrieve(tables, Hasher(spec).probes(queries))
    return [set(row[:count].tolist()) for row, count in zip(ids, counts, strict=True)]


def recall_of(found, neighbours):
    return np.mean([len(f & set(n.tolist())) / len(n) for f, n in zip(found, neighbours, strict=True)])


@pytest.mark.parametrize("family", SPECS)
def test_with_all_rows_as_background_the_measures_are_those_of_real_tables(family):
    """Recall and mean candidates at all tables and probes are exactly what built tables retrieve."""
    spec, rows = SPECS[family], planted(2000)
    problem = pose(rows, planted(2000, part=1), metric="cosine", k=5, sample=60)
    measured = measure(problem, Hashed.of(problem, spec))
    found = found_by(real_tables(spec, rows), spec, problem.queries)
    assert measured.recall[-1, -1] == pytest.approx(recall_of(found, problem.neighbours), abs=1e-6)
    assert measured.candidates[-1, -1] == pytest.approx(np.mean([len(f) for f in found]))


@pytest.mark.parametrize("family", SPECS)
def test_more_tables_and_more_probes_never_find_less(family):
    """Recall, candidates and reads rise along both axes, and reads are at least the candidates."""
    problem = pose(planted(2000), metric="cosine", k=5, sample=60)
    m = measure(problem, Hashed.of(problem, SPECS[family]))
    for each in (m.recall, m.candidates, m.reads):
        assert (np.diff(each, axis=0) >= -1e-9).all() and (np.diff(each, axis=1) >= -1e-9).all()
    assert (m.reads >= m.candidates - 1e-9).all()


def test_candidates_of_a_sample_of_rows_are_near_those_of_all():
    """1,000 background rows of 8,000 give the candidates of all rows within a tenth.

    256 queries meet about 0.01 * 1,000 rows each: a standard error near 2%, and 5 of them are 10%.
    """
    rows = planted(8000)
    whole = pose(rows, metric="cosine", k=5, sample=256, background=8000)
    part = pose(rows, metric="cosine", k=5, sample=256, background=1000)
    spec = SPECS["fast_srp"]
    expected = measure(whole, Hashed.of(whole, spec)).candidates[-1, -1]
    estimate = measure(part, Hashed.of(part, spec)).candidates[-1, -1]
    assert estimate == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("target", [0.6, 0.9])
def test_the_chosen_setting_reaches_its_goal_on_other_queries(target):
    """Real tables of the chosen setting reach the recall, and keep the limit, on queries never seen.

    The choice is made with a margin of one standard error; 400 fresh queries have one of
    at most 0.5 / sqrt(400) = 0.025: 4 of them below the goal is a false alarm in 30,000.
    """
    rows, fresh = planted(), planted(part=2)[:400]
    tuning = tune(rows, planted(part=1), target_recall=target, k=5, max_candidates=0.05, **SMALL)
    assert tuning.best.meets and tuning.out_of_reach is None
    spec = tuning.best.spec
    found = found_by(real_tables(spec, rows), spec, fresh)
    recall = recall_of(found, exact_neighbours(rows, fresh, "cosine", 5))
    assert recall > target - 4 * 0.025 and recall == pytest.approx(tuning.best.recall, abs=4 * 0.03)
    assert np.mean([len(f) for f in found]) < 0.05 * len(rows) * 1.2
    assert all(s.query_us >= tuning.best.query_us for s in tuning.table if s.meets)


def test_overflow_is_foreseen():
    """Recall of FIFO tables whose buckets are too small is estimated within 0.05 of what they find."""
    rows, size = planted(4000, size=200), 16
    spec = replace(SPECS["cross_polytope"], n_tables=6, n_probes=0)
    problem = pose(rows, planted(4000, size=200, part=1), metric="cosine", k=10, sample=300)
    hashed = Hashed.of(problem, spec)
    measured = measure(problem, hashed)
    limited = with_overflow(hashed, measured, bucket_populations(problem, hashed, 1), size)
    truth = recall_of(found_by(real_tables(spec, rows, size), spec, problem.queries), problem.neighbours)
    assert measured.recall[-1, -1] - truth > 0.1
    assert limited.recall[-1, -1] == pytest.approx(truth, abs=0.05)


def test_buckets_and_bytes_keep_the_limit():
    """With storage "buckets" the chosen tables, both buffers, take at most max_bytes and reach the goal."""
    rows, limit = planted(), 12 << 20
    tuning = tune(rows, target_recall=0.7, k=5, max_bytes=limit, storage="buckets", **SMALL)
    best = tuning.best
    taken = sum(a.padded_bytes for a in table_specs(best.spec, len(rows), best.bucket_size))
    assert best.meets and taken == best.n_bytes <= limit
    queries = planted(part=3)[:300]
    found = found_by(real_tables(best.spec, rows, best.bucket_size), best.spec, queries)
    assert recall_of(found, exact_neighbours(rows, queries, "cosine", 5)) > 0.7 - 4 * 0.029


def test_a_goal_out_of_reach_gives_the_nearest_and_says_so():
    """Within 0.1% of the rows not all neighbours are found: the best keeps the limit and is said to miss."""
    tuning = tune(planted(), target_recall=0.99, k=10, max_candidates=0.001, max_tables=10, max_probes=2)
    assert not tuning.best.meets and tuning.best.within and tuning.best.candidates <= 4
    assert tuning.best.recall == max(s.recall for s in tuning.table if s.within)
    assert "out of reach within 4 candidates" in tuning.out_of_reach
    assert tuning.out_of_reach in tuning.to_markdown()


def test_the_same_seed_chooses_the_same(tuned):
    """Two tunings of the same data give equal tables; another seed draws another sample."""
    assert tune(planted(), target_recall=0.8, k=5, **SMALL).table == tuned.table
    assert tune(planted(), target_recall=0.8, k=5, seed=2, **SMALL).table != tuned.table


def test_the_yaml_lines_configure_the_chosen_functions(tuned):
    """What to_yaml prints is an lsh group that makes the chosen spec again."""
    best = tuned.best
    lsh = parse_config("data: {synth: {}}\n" + tuned.to_yaml()).lsh
    assert HashSpec.from_config(lsh, 32, 1) == best.spec and lsh.bucket_size == best.bucket_size
    assert json.loads(json.dumps(tuned.to_dict()))["best"]["spec"]["family"] == best.spec.family


@pytest.mark.parametrize(
    "fields",
    [
        {"family": "l2", "n_hashes": 4, "l2_width": 2.5, "code_bits": 11, "transform": "l2_alsh"},
        {"family": "cross_polytope", "n_hashes": 1, "dim": 16, "n_probes": 2, "transform": "simple"},
        {"family": "dwta", "n_hashes": 2, "bin_size": 16},
    ],
    ids=lambda fields: fields["family"],
)
def test_the_yaml_lines_hold_all_that_tuning_chooses(tuned, fields):
    """Whatever the family, the spec made from the lines is the one that was measured."""
    spec = HashSpec(**{"n_tables": 7, "n_probes": 0, "n_dims": 32, **fields})
    lines = replace(tuned, best=replace(tuned.best, spec=spec)).to_yaml()
    assert HashSpec.from_config(parse_config("data: {synth: {}}\n" + lines).lsh, 32, 1) == spec


def truth(rows, queries, metric):
    rows, queries = rows.astype(np.float64), queries.astype(np.float64)
    if metric == "jaccard":
        rows, queries = (rows != 0).astype(float), (queries != 0).astype(float)
    products = queries @ rows.T
    of_rows, of_queries = (rows**2).sum(1), (queries**2).sum(1)[:, None]
    return {
        "dot": products,
        "cosine": products / np.sqrt(of_rows * of_queries),
        "euclidean": -(of_rows + of_queries - 2 * products),
        "jaccard": products / (of_rows + of_queries - products),
    }[metric]


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean", "jaccard"])
@pytest.mark.parametrize("sparse", [False, True])
def test_exact_neighbours_are_those_of_a_full_sort(metric, sparse):
    """The scores of the rows returned are the k best of all, dense or sparse, whatever the metric."""
    random = np.random.default_rng(4)
    rows = (random.standard_normal((1500, 40)) * (random.random((1500, 40)) < 0.3)).astype(np.float32)
    queries = rows[:300] + 0.1 * (rows[:300] != 0).astype(np.float32)
    scores = truth(rows, queries, metric)
    as_given = (lambda x: SparseRows.of(csr_array(x))) if sparse else (lambda x: x)
    ids = exact_neighbours(as_given(rows), as_given(queries), metric, 7)
    np.testing.assert_allclose(
        np.take_along_axis(scores, ids, 1), -np.sort(-scores, axis=1)[:, :7], rtol=1e-4, atol=1e-4
    )


def test_excluded_rows_and_missing_ones_are_left_out():
    """Rows that do not count give way to the next nearest; beyond the last row there is -1."""
    rows = np.eye(4, dtype=np.float32) + 0.1
    ids = exact_neighbours(rows, rows[:2], "dot", 4, excluded=[np.array([0]), np.array([1, 2])])
    assert ids[0].tolist() == [1, 2, 3, -1] and ids[1].tolist() == [0, 3, -1, -1]


@pytest.mark.parametrize("family", SPECS)
def test_the_collision_curve_lies_on_the_closed_form(family):
    """64 hashes of pairs at planted cosines agree as often as the closed form says, within 0.06.

    A bin of 100 pairs averages 64 functions: were only four of its pairs independent, the standard error
    would be sqrt(0.25 / 64 / 4) = 0.03, and 0.06 is two of them.
    """
    random = np.random.default_rng(1)
    queries = random.standard_normal((256, 64)).astype(np.float32)
    rows = np.repeat(queries, 8, axis=0) + random.uniform(0, 2, (2048, 1)) * random.standard_normal(
        (2048, 64)
    )
    problem = pose(rows.astype(np.float32), queries, metric="cosine", k=8)
    curve = collision_curve(problem, replace(SPECS[family], n_dims=64))
    seen = curve.pairs >= 100
    assert seen.sum() >= 8 and curve.similarity[seen].max() > 0.9
    np.testing.assert_allclose(curve.probability[seen], curve.expected()[seen], atol=0.06)


def test_the_formula_gives_the_tables_of_the_paper():
    """p**K = 0.1 and recall 0.9 need log(0.1) / log(0.9) = 21.9, so 22 tables."""
    assert tables_by_formula(0.1, 1, 0.9) == 22 == math.ceil(math.log(0.1) / math.log(0.9))
    assert tables_by_formula(0.0, 3, 0.9) is None and tables_by_formula(1.0, 3, 0.9) == 1


def test_the_formula_is_near_the_measured_tables_where_all_neighbours_are_equally_near():
    """With one neighbour at a fixed angle the formula's L is within a factor of 1.5 of the measured one."""
    random = np.random.default_rng(5)
    queries = random.standard_normal((500, 64)).astype(np.float32)
    rows = np.concatenate(
        [queries + 0.5 * random.standard_normal((500, 64)), random.standard_normal((3000, 64))]
    )
    problem = pose(rows.astype(np.float32), queries, metric="cosine", k=1)
    spec = HashSpec("fast_srp", 8, 60, 0, n_dims=64)
    row = solve(problem, Goal(0.8, 1), [spec]).table[0]
    assert row.tables_by_formula / 1.5 < row.tables_unprobed < row.tables_by_formula * 1.5


def bad_calls():
    rows = planted(100)
    nan = rows.copy()
    nan[3, 4] = np.nan
    return {
        "metric 'angle' is unknown": dict(X=rows, metric="angle"),
        "target_recall is 1": dict(X=rows, target_recall=1.0),
        "max_candidates is -1": dict(X=rows, max_candidates=-1),
        "max_bytes is 0": dict(X=rows, max_bytes=0),
        "k is 0": dict(X=rows, k=0),
        "family 'nonsense' is unknown": dict(X=rows, families=["nonsense"]),
        "X holds NaN": dict(X=nan),
        "X is empty": dict(X=rows[:0]),
        "too few for 100 neighbours": dict(X=rows, k=100),
        "queries have 31 dimensions": dict(X=rows, queries=rows[:, :31]),
        "give numbers": dict(X=rows[0]),
    }


@pytest.mark.parametrize("message", bad_calls())
def test_wrong_arguments_are_named(message):
    """Each wrong argument raises an error that says what was found."""
    with pytest.raises((UsageError, ShapeError), match=message):
        tune(**bad_calls()[message])


def test_a_problem_may_center_its_rows():
    """Rows that share a large common part are told apart once hashed relative to it."""
    rows = planted(2000)
    shifted = rows + 5.0
    kwargs = dict(metric="dot", k=5, sample=100)
    plain = pose(shifted, planted(2000, part=1), **kwargs)
    centered = pose(shifted, planted(2000, part=1), center=shifted.mean(axis=0), **kwargs)
    recalls = [measure(p, Hashed.of(p, SPECS["fast_srp"])).recall[-1, -1] for p in (plain, centered)]
    assert recalls[1] > recalls[0] + 0.2


def test_the_picture_is_written(tuned, fonts, tmp_path):
    """plot(path) writes an image of the trade-off and the collision curves."""
    path = tuned.plot(tmp_path / "tune.png")
    assert path.read_bytes().startswith(b"\x89PNG")
