from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.errors import ShapeError
from distlsh.lsh import Hasher, HashSpec, Sketcher, Tables, build, refresh
from distlsh.lsh.sketch import sketch_spec


def sketches_of(rows, bits=2, center=None, seed=1):
    sketcher = Sketcher(rows.shape[1], seed, bits)
    spec = sketch_spec(len(rows), rows.shape[1], bits)
    sketch = np.zeros(spec.shape, np.uint64)
    sketcher.rows(rows, np.arange(len(rows), dtype=np.int32), center, sketch)
    return sketcher, sketch


def vectors(seed, m, d):
    return np.random.default_rng(seed).standard_normal((m, d)).astype(np.float32)


def unpacked(sketch, bits, width):
    """Levels u of each coordinate, and the factors."""
    raw = np.unpackbits(sketch[:, :-1].view(np.uint8), axis=1, bitorder="little")
    planes = raw.reshape(len(sketch), bits, width)
    levels = (planes << np.arange(bits)[:, None]).sum(axis=1)
    factors = np.ascontiguousarray(sketch[:, -1]).astype(np.uint32).view(np.float32)
    return levels + 0.5 - 2 ** (bits - 1), factors


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), d=st.integers(1, 200), bits=st.integers(1, 4), m=st.integers(1, 40))
def test_estimates_are_products_of_what_the_bits_say(seed, d, bits, m):
    """Against the same numbers in NumPy: unpacked levels, rounded queries, factors."""
    rows, queries = vectors(seed, m, d), vectors(seed + 1, 3, d)
    sketcher, sketch = sketches_of(rows, bits, seed=seed)
    width = max(64, 1 << (d - 1).bit_length())
    values, factors = unpacked(sketch, bits, width)
    found = sketcher.queries(queries)
    raw = np.unpackbits(found.planes.view(np.uint8), axis=1, bitorder="little").reshape(3, 4, width)
    steps = (raw.astype(np.int64) * np.array([1, 2, 4, -8])[:, None]).sum(axis=1)
    expected = factors * (steps @ values.T) * found.scales[:, 1:]
    for i in range(3):
        got = sketcher.estimate(sketch, found, i, np.arange(m, dtype=np.int32))
        np.testing.assert_allclose(got, expected[i], rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("bits", "distortion"), [(1, 0.3634), (2, 0.1188), (3, 0.0374), (4, 0.0115)])
def test_estimates_are_near_and_not_biased(bits, distortion):
    """Errors are what the rounding of Gaussian coordinates makes (Max 1960, table II), and none on average.

    Errors are taken over the product of lengths, times the root of the dimensions; the
    query's steps are about 0.4 of a coordinate's deviation.  Mean of 120,000 errors within five
    standard errors, their deviation within a tenth.
    """
    d = 256
    rows, queries = vectors(0, 2000, d), vectors(1, 60, d)
    sketcher, sketch = sketches_of(rows, bits)
    found = sketcher.queries(queries)
    ids = np.arange(len(rows), dtype=np.int32)
    estimates = np.array([sketcher.estimate(sketch, found, i, ids) for i in range(len(queries))])
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(rows, axis=1)
    errors = (estimates - queries @ rows.T) / lengths * np.sqrt(d)
    assert errors.std() == pytest.approx(np.sqrt(distortion / (1 - distortion) + 0.4**2 / 12), rel=0.1)
    assert abs(errors.mean()) < 5 * errors.std() / np.sqrt(errors.size)


def test_inner_products_with_themselves():
    """A row's estimate with itself differs only by the query's own rounding; lengths of any size."""
    rows = vectors(3, 50, 100) * np.logspace(-3, 3, 50)[:, None].astype(np.float32)
    sketcher, sketch = sketches_of(rows)
    found = sketcher.queries(rows)
    own = [sketcher.estimate(sketch, found, i, np.array([i], np.int32))[0] for i in range(50)]
    np.testing.assert_allclose(own, (rows.astype(np.float64) ** 2).sum(axis=1), rtol=0.1)


def test_zeros_and_centers():
    """Rows at the center and queries of zeros estimate 0; others are taken relative to the center."""
    rows, center = vectors(5, 20, 70), vectors(6, 1, 70)[0]
    rows[3] = center
    sketcher, sketch = sketches_of(rows, center=center)
    _, moved = sketches_of(rows - center)
    np.testing.assert_array_equal(sketch, moved)
    queries = np.concatenate([vectors(7, 1, 70), np.zeros((1, 70), np.float32)])
    found = sketcher.queries(queries)
    ids = np.arange(20, dtype=np.int32)
    assert sketcher.estimate(sketch, found, 0, ids)[3] == 0
    assert np.all(sketcher.estimate(sketch, found, 1, ids) == 0)


def test_builds_and_refreshes_keep_the_sketches():
    """After a build, and a refresh of the rows that changed, all sketches are those of the rows."""
    spec = HashSpec("fast_srp", 4, 3, 0, 30, seed=9)
    weights, hasher = vectors(0, 500, 30), Hasher(HashSpec("fast_srp", 4, 3, 0, 30, seed=9))
    tables = Tables.create(spec, 500, 16, sketch=True)
    tables.center[:] = weights.mean(axis=0)
    build(tables, hasher, weights)
    some = np.array([3, 77, 499], np.int32)
    weights[some] += 1
    refresh(tables, hasher, weights, some)
    _, expected = sketches_of(weights, center=tables.center, seed=9)
    np.testing.assert_array_equal(tables.sketch, expected)


def test_wrong_shapes_never_reach_the_kernels():
    """Vectors, ids and sketches of other sizes are refused."""
    sketcher, sketch = sketches_of(vectors(0, 10, 64))
    with pytest.raises(ShapeError, match=r"take \(m, 64\)"):
        sketcher.queries(vectors(0, 3, 63))
    with pytest.raises(ShapeError, match="one id a vector"):
        sketcher.rows(vectors(0, 2, 64), np.array([1, 10], np.int32), None, sketch)
    with pytest.raises(ShapeError, match="sketches of shape"):
        sketcher.rows(vectors(0, 1, 64), np.zeros(1, np.int32), None, sketch[:, :2].copy())
