"""Slow, obvious versions of what is common to the probes of all families."""

from __future__ import annotations

import numpy as np

from distlsh.lsh.families.borrowing import Borrowing


def gaussian(m, n_dims, seed=0):
    return np.random.default_rng(seed).standard_normal((m, n_dims)).astype(np.float32)


def scores_of(digit_costs, base):
    """Total cost of every code of one table: {code: cost}, from a list of {digit: cost} a hash."""
    totals = {0: 0.0}
    for costs in digit_costs:
        totals = {
            code * base + digit: total + cost
            for code, total in totals.items()
            for digit, cost in costs.items()
        }
    return totals


def assert_best(probes, totals):
    """Probes cost, in order, what the best codes cost (up to rounding of the keys)."""
    best = sorted(totals.values())[: len(probes)]
    kept = [totals[int(code)] for code in probes if code >= 0]
    assert len(kept) == min(len(probes), len(totals))
    np.testing.assert_allclose(kept, best[: len(kept)], rtol=2e-3, atol=1e-3 * max(best[-1], 1e-9))


def borrowed(held, seed):
    """Return the bin that each of the bins reads, ``held`` telling which are not empty: by walking."""
    walks, prime = Borrowing.of(seed, len(held))[:2]
    donors = []
    for bin_, (start, stride, _) in enumerate(walks.T.tolist()):
        walk = [(start + step * stride) % prime for step in range(prime)]
        found = [at for at in walk if at < len(held) and held[at]]
        donors.append(bin_ if held[bin_] else found[0] if found else 0)
    return donors
