"""How often one hash of a family agrees, against how alike two vectors are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import EMPTY
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.theory import collision_probability
from distlsh.lsh.tuning.problem import Problem, take
from distlsh.lsh.tuning.similarity import similarities

Doubles = NDArray[np.float64]

N_FUNCTIONS = 64
"""Hashes drawn of a family: each pair of vectors is compared under all of them."""
N_BINS = 20
_QUERIES = 256
_ROWS = 512


@dataclass(frozen=True)
class CollisionCurve:
    """The measured collision probability of one hash.

    spec           of one hash a table
    of             "cosine", "distance" or "jaccard": what the similarities are
    similarity     f8[bins], mean of the pairs of a bin, ascending
    probability    f8[bins], share of hashes that agree
    pairs          i8[bins], pairs of vectors in each bin
    of_neighbours  mean over the queries and their exact neighbours: P1 of the formula
    """

    spec: HashSpec
    of: str
    similarity: Doubles
    probability: Doubles
    pairs: NDArray[np.int64]
    of_neighbours: float

    def expected(self) -> Doubles:
        """Return the closed form f8[bins] at ``similarity``."""
        spec = self.spec
        return collision_probability(
            spec.family, self.similarity, dim=spec.dim, bin_size=spec.bin_size, l2_width=spec.l2_width
        )


def one_hash(spec: HashSpec) -> HashSpec:
    """Return the spec of single hashes of the same kind: settings alike in this share a curve."""
    return replace(spec, n_hashes=1, n_tables=N_FUNCTIONS, n_probes=0)


def collision_curve(problem: Problem, spec: HashSpec) -> CollisionCurve:
    """Measure the single hashes of ``spec`` on queries, their neighbours and background rows."""
    single = one_hash(spec)
    hasher = Hasher(single)
    queries = problem.probes(hasher)[:, :, 0]
    near = problem.neighbour_codes(hasher)
    valid = near[:, :, 0] != EMPTY
    agree_near = (near == queries[:, None, :]).mean(axis=2)
    some = slice(None, None, max(1, len(problem.background) // _ROWS))
    rows = problem.background[some]
    agree = (problem.codes(hasher, rows)[None] == queries[:_QUERIES, None, :]).mean(axis=2)
    of, alike = similarities(problem, take(problem.queries, np.arange(min(_QUERIES, len(queries)))), rows)
    _, alike_near = similarities(problem, problem.queries, problem.neighbours)
    x = np.concatenate([alike.ravel(), alike_near[valid]])
    y = np.concatenate([agree.ravel(), agree_near[valid]])
    return CollisionCurve(single, of, *_binned(x, y), float(agree_near[valid].mean()))


def _binned(x: Doubles, y: Doubles) -> tuple[Doubles, Doubles, NDArray[np.int64]]:
    """Return the means of x and y and the number of pairs in bins of equal width of x."""
    edges = np.linspace(x.min(), x.max(), N_BINS + 1)
    place = np.clip(np.searchsorted(edges, x, "right") - 1, 0, N_BINS - 1)
    pairs = np.bincount(place, minlength=N_BINS)
    some = pairs > 0
    means = [np.bincount(place, values, N_BINS)[some] / pairs[some] for values in (x, y)]
    return means[0], means[1], pairs[some]
