"""Steps by distinct feature of a batch."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.kernels.by_feature import group_by_feature, step_features
from distlsh.kernels.optim import ADAGRAD, ADAM, SGD, update_rows

N_FEATURES, WIDTH = 9, 37


def csr(lists, seed=0):
    """Return indptr, indices and values of instances given by lists of their features."""
    indptr = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    indices = np.array([feature for one in lists for feature in one], np.int32)
    return indptr, indices, np.random.default_rng(seed).uniform(-1, 1, len(indices)).astype(np.float32)


def grouped(matrix, places=None):
    """Return features, starts, rows and values by feature."""
    n = len(matrix[1])
    places = np.zeros(N_FEATURES, np.int32) if places is None else places
    out = np.empty(n, np.int32), np.empty(n + 1, np.int64), np.empty(n, np.int32), np.empty(n, np.float32)
    distinct = group_by_feature(*matrix, places, *out)
    return out[0][:distinct], out[1][: distinct + 1], *out[2:]


instances = st.lists(st.lists(st.integers(0, N_FEATURES - 1), max_size=7), max_size=7)


@given(lists=instances)
@settings(deadline=None, max_examples=100)
def test_entries_are_grouped_by_feature_in_order_of_instances(lists):
    """Each distinct feature once, as first met; under it its instances, ascending, with their values."""
    matrix, places = csr(lists), np.zeros(N_FEATURES, np.int32)
    features, starts, rows, values = grouped(matrix, places)
    assert features.tolist() == list(dict.fromkeys(matrix[1].tolist()))
    of_entry = np.repeat(np.arange(len(lists)), np.diff(matrix[0]))
    for k, feature in enumerate(features):
        wanted = np.flatnonzero(matrix[1] == feature)
        np.testing.assert_array_equal(rows[starts[k] : starts[k + 1]], of_entry[wanted])
        np.testing.assert_array_equal(values[starts[k] : starts[k + 1]], matrix[2][wanted])
    assert not places.any(), "the scratch is ready for the next batch"


@pytest.mark.parametrize("code", [SGD, ADAGRAD, ADAM])
@given(lists=instances, seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_a_step_is_the_dense_one_of_the_summed_gradient(code, lists, seed):
    """Rows of the batch's features move as by the dense optimiser; others, and their states, not at all."""
    matrix = csr(lists, seed)
    random = np.random.default_rng(seed)
    delta = random.standard_normal((len(lists), WIDTH), np.float32)
    dense = np.zeros((N_FEATURES, WIDTH), np.float32)
    dense += sp.csr_array((matrix[2], matrix[1], matrix[0]), shape=(len(lists), N_FEATURES)).T @ delta
    start = random.standard_normal((N_FEATURES, WIDTH), np.float32)
    sides, hyper = [], np.array([0.9, 0.999, 1e-8], np.float32)
    for _ in range(2):
        states = [np.full((N_FEATURES, WIDTH), 0.01, np.float32) for _ in range(2)]
        sides.append((start.copy(), *states, np.zeros(N_FEATURES, np.int64)))
    scratch = random.standard_normal((1, WIDTH), np.float32)
    step_features(*grouped(matrix), delta, scratch, code, *sides[0], 0.1, hyper, 3, np.uint64(1))
    update_rows(code, *sides[1], dense, 0.1, hyper, 3)
    met = np.zeros(N_FEATURES, bool)
    met[matrix[1]] = True
    for got, expected in zip(sides[0][:3], sides[1][:3], strict=True):
        np.testing.assert_allclose(got[met], expected[met], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(sides[0][0][~met], start[~met])
    assert (sides[0][1][~met] == np.float32(0.01)).all()
