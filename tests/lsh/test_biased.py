"""A bias as a coordinate of rows, and the 1 of queries that it meets."""

from __future__ import annotations

import numpy as np

from distlsh.lsh.biased import BiasedRows, as_queries


def test_rows_and_queries_multiply_to_logits():
    """scale * row . query is scale * weights . hidden + bias, by slices and by ids."""
    random = np.random.default_rng(0)
    weights, bias = random.standard_normal((2, 20, 6)).astype(np.float32)[0], random.standard_normal((20, 1))
    rows = BiasedRows(weights, bias.astype(np.float32), 10.0)
    hidden = random.standard_normal((4, 6)).astype(np.float32)
    logits = 10 * hidden @ weights.T + bias.T
    ids = np.int32([3, 17, 4])
    assert rows.shape == (20, 7) and len(rows) == 20 and rows[ids].dtype == np.float32
    np.testing.assert_allclose(10 * as_queries(hidden, 7) @ rows[ids].T, logits[:, ids], atol=1e-5)
    np.testing.assert_allclose(10 * as_queries(hidden, 7) @ rows[5:9].T, logits[:, 5:9], atol=1e-5)


def test_queries_of_rows_without_a_bias_stay_as_they_are():
    """No copy."""
    hidden = np.ones((2, 6), np.float32)
    assert as_queries(hidden, 6) is hidden
