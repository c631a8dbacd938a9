"""Vectors, an index that looks at everything, and slow scores, for the tests of `LSHIndex`."""

from __future__ import annotations

import numpy as np

import distlsh

METRICS = ("cosine", "dot", "euclidean")


def clusters(n, d, seed=0, n_clusters=20, noise=0.3):
    """f4[n, d] about ``n_clusters`` centres, which are the same for all seeds."""
    centres = np.random.default_rng(99).standard_normal((n_clusters, d))
    random = np.random.default_rng(seed)
    found = centres[random.integers(n_clusters, size=n)] + noise * random.standard_normal((n, d))
    return found.astype(np.float32)


def sets(n, d, seed=0, share=0.2):
    """u1[n, d] of sets that resemble one another in groups."""
    random = np.random.default_rng(seed)
    groups = np.random.default_rng(98).random((12, d)) < share
    return (groups[random.integers(12, size=n)] ^ (random.random((n, d)) < 0.05)).astype(np.uint8)


def whole(metric="euclidean", **params):
    """An index whose queries read all four buckets of its one table, and score every row exactly."""
    settings = {"family": "fast_srp", "n_hashes": 2, "n_tables": 1, "n_probes": 3, "n_rerank": 0}
    return distlsh.LSHIndex(metric=metric, **{**settings, **params})


def whole_sets(**params):
    """The same for sets: of 60 tables with two buckets each, any two sets share a bucket in some."""
    settings = {"n_hashes": 1, "n_tables": 60, "code_bits": 1}
    return distlsh.LSHIndex(metric="jaccard", **{**settings, **params})


def all_scores(metric, Q, X):
    """f8[m, n]: similarities, or Euclidean distances."""
    Q, X = np.asarray(Q, np.float64), np.asarray(X, np.float64)
    if metric == "euclidean":
        return np.sqrt(((Q[:, None] - X) ** 2).sum(axis=2))
    if metric == "dot":
        return Q @ X.T
    if metric == "cosine":
        lengths = np.linalg.norm(Q, axis=1)[:, None] * np.linalg.norm(X, axis=1)
        return np.divide(Q @ X.T, lengths, out=np.zeros(lengths.shape), where=lengths > 0)
    both = (Q != 0).astype(int) @ (X != 0).astype(int).T
    union = (Q != 0).sum(axis=1)[:, None] + (X != 0).sum(axis=1) - both
    return np.divide(both, union, out=np.ones(both.shape), where=union > 0)


def best(metric, Q, X, k):
    """i8[m, k] and f8[m, k] by brute force, equal scores by lower id."""
    scores = all_scores(metric, Q, X)
    order = np.argsort(scores if metric == "euclidean" else -scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, 1)


def recall(found, wanted):
    """The share of ``wanted`` i8[m, k] in the rows of ``found``."""
    return float((found[:, :, None] == wanted[:, None, :]).any(axis=1).mean())
