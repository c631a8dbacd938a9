"""Groups of vectors that are alike, of equal size: batches whose members are hard to tell apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distlsh.model.spec import Floats, Offsets

_SAMPLE = 256  # vectors from which a direction is drawn
_ROUNDS = 3


def alike_groups(vectors: Floats, n_groups: int, rng: np.random.Generator) -> list[Offsets]:
    """Return the rows of ``vectors`` f4[n, d], n >= n_groups, in groups of near ones, in random order.

    A set is halved along the difference of two means of a sample of it, each of one half; so groups are of
    equal size, but for some rounding, unlike those of k-means.

    Source: balanced 2-means, Parabel (Prabhu et al. 2018), section 3.2; of a sample, as only nearness counts.
    """
    groups: list[Offsets] = []
    left = [(np.arange(len(vectors)), n_groups)]
    while left:
        rows, parts = left.pop()
        if parts <= 1:
            groups.append(rows)
            continue
        first = parts // 2
        cut = len(rows) * first // parts
        order = np.argpartition(vectors[rows] @ _direction(vectors, rows, rng), cut)
        left += [(rows[order[:cut]], first), (rows[order[cut:]], parts - first)]
    return [groups[i] for i in rng.permutation(len(groups))]


def _direction(vectors: Floats, rows: Offsets, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return the difference of the means of two halves of a sample of ``rows``."""
    sample = vectors[rows[rng.integers(0, len(rows), _SAMPLE)]]
    direction = sample[0] - sample[1]
    for _ in range(_ROUNDS):
        order = np.argsort(sample @ direction)
        low, high = order[: _SAMPLE // 2], order[_SAMPLE // 2 :]
        direction = sample[high].mean(0) - sample[low].mean(0)
    return np.asarray(direction, np.float32)
