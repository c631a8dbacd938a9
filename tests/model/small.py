"""Small data and networks that the model's tests share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distlsh.model.network import Network
from distlsh.model.spec import NetworkSpec, parameter_specs


@dataclass
class Data:
    """Instances in memory, made of dense features and lists of labels."""

    x: np.ndarray
    label_lists: list[list[int]]
    n_labels: int

    def __post_init__(self) -> None:
        self.n_rows, self.n_features = self.x.shape
        rows, columns = np.nonzero(self.x)
        self.indptr = np.searchsorted(rows, np.arange(self.n_rows + 1)).astype(np.int64)
        self.indices, self.values = columns.astype(np.int32), self.x[rows, columns].astype(np.float32)
        self.label_indptr = np.cumsum([0, *map(len, self.label_lists)]).astype(np.int64)
        self.labels = np.array([x for row in self.label_lists for x in row], np.int32)

    def label_counts(self) -> np.ndarray:
        return np.bincount(self.labels, minlength=self.n_labels).astype(np.int64)


def make_network(spec: NetworkSpec, seed: int | None = None) -> Network:
    """Return a network of zeros, or of normal weights and biases."""
    arrays = {a.name: np.zeros(a.shape, a.dtype) for a in parameter_specs(spec)}
    if seed is not None:
        rng = np.random.default_rng(seed)
        for name, array in arrays.items():
            if name.endswith(("weights", "bias")):
                array[:] = 0.7 * rng.standard_normal(array.shape)
    return Network(spec, arrays)


def clusters(n_rows: int, n_labels: int, seed: int, words: int = 6) -> Data:
    """Return instances whose label's own ``words`` features are mostly on, among noise."""
    rng = np.random.default_rng(seed)
    n_features = n_labels * words // 2
    own = np.random.default_rng(99).integers(0, n_features, (n_labels, words))
    labels = rng.integers(0, n_labels, n_rows)
    x = np.zeros((n_rows, n_features), np.float32)
    for i, label in enumerate(labels):
        x[i, own[label][rng.random(words) < 0.8]] = 1.0
        x[i, rng.integers(0, n_features, 2)] = 1.0
    return Data(x, [[int(label)] for label in labels], n_labels)


class FixedSelector:
    """Labels, then neurons at random from each sample's own state until ``n_active``."""

    def __init__(self, data: Data, n_active: int, n_retrieved: int = 0) -> None:
        self.data, self.n_active, self.n_retrieved = data, n_active, n_retrieved

    def select_batch(self, hidden, rows, seeds, active, bounds) -> None:
        for i, row in enumerate(rows):
            labels = self.data.label_lists[row]
            order = np.random.default_rng(int(seeds[i])).permutation(self.data.n_labels)
            ids = [*labels, *(x for x in order if x not in labels)]
            n = max(self.n_active, len(labels))
            active[i, :n] = ids[:n]
            b1 = min(n, len(labels) + self.n_retrieved)
            bounds[i] = (len(labels), b1, n)
