"""One pass over a sample: recall and candidates of every number of tables and probes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import EMPTY
from distlsh.kernels.tuning import count_found
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tuning.problem import Problem

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Ids = NDArray[np.int32]
Ranks = NDArray[np.uint8]


@dataclass(frozen=True)
class Hashed:
    """A problem's sample under one spec's hash functions.

    probes      i4[m, L, C], of the queries, EMPTY in unused places
    neighbours  i4[m, k, L], of each query's exact neighbours, EMPTY where it has fewer than k
    background  i4[b, L], of the sample of rows
    """

    spec: HashSpec
    probes: Ids
    neighbours: Ids
    background: Ids

    @classmethod
    def of(cls, problem: Problem, spec: HashSpec) -> Hashed:
        """Hash the problem's queries, their neighbours and its background."""
        hasher = Hasher(spec)
        return cls(
            spec,
            problem.probes(hasher),
            problem.neighbour_codes(hasher),
            problem.codes(hasher, problem.background),
        )

    @property
    def n_ranks(self) -> int:
        """Buckets of a table that a query may read; a rank of so many means not found."""
        return int(self.probes.shape[2])

    @property
    def valid(self) -> NDArray[np.bool_]:
        """b[m, k]: whether a query has so many neighbours."""
        found: NDArray[np.bool_] = self.neighbours[:, :, 0] != EMPTY
        return found

    def neighbour_ranks(self) -> Ranks:
        """Return u1[m, k, L]: at which probe a table gives a neighbour, n_ranks where it does not."""
        m, k, n_tables = self.neighbours.shape
        ranks = np.full((m, k, n_tables), self.n_ranks, np.uint8)
        for rank in reversed(range(self.n_ranks)):
            probe = self.probes[:, None, :, rank]
            ranks[(probe == self.neighbours) & (probe != EMPTY)] = rank
        return ranks


@dataclass(frozen=True)
class Measured:
    """What each number of tables and probes gives: place [l - 1, p] is of l tables with p extra probes.

    recall      f8[L, 1 + P], share of the exact neighbours that are found
    error       f8[L, 1 + P], standard error of the recall over the queries
    candidates  f8[L, 1 + P], distinct ids found a query, in the mean, of all rows
    reads       f8[L, 1 + P], ids read a query, those of several buckets as often
    """

    spec: HashSpec
    recall: Doubles
    error: Doubles
    candidates: Doubles
    reads: Doubles


def measure(problem: Problem, hashed: Hashed) -> Measured:
    """Return what every prefix of the tables and probes of ``hashed`` finds.

    Candidates are counted in the background, a uniform sample of the rows, as the union
    over tables, and scaled to all rows: unbiased, whatever tables have in common.
    """
    recall, error = recalls(hashed.neighbour_ranks(), hashed.valid, hashed.n_ranks)
    candidates, reads = _retrieved(hashed, problem.n_rows / len(problem.background))
    return Measured(hashed.spec, recall, error, candidates, reads)


def recalls(
    ranks: Ranks, valid: NDArray[np.bool_], n_ranks: int, kept: Floats | None = None
) -> tuple[Doubles, Doubles]:
    """Return recall and its standard error over queries, f8[L, n_ranks].

    ranks  u1[m, k, L]
    valid  b[m, k], which neighbours there are
    kept   f4[m, k, L], share of its bucket that fits, 1 where nothing overflows: a row is
           found with the largest of these, as full FIFO buckets filled in one order drop the same rows
    """
    m, k, n_tables = ranks.shape
    of_query = np.maximum(1, valid.sum(axis=1, keepdims=True))
    counted = valid.any(axis=1)
    best = np.zeros((m, k, n_ranks), np.float32)
    recall, error = np.empty((n_tables, n_ranks)), np.empty((n_tables, n_ranks))
    for table in range(n_tables):
        found = (ranks[:, :, table, None] <= np.arange(n_ranks)).astype(np.float32)
        if kept is not None:
            found *= kept[:, :, table, None]
        np.maximum(best, found, out=best)
        shares = ((best * valid[:, :, None]).sum(axis=1) / of_query)[counted]
        recall[table] = shares.mean(axis=0)
        error[table] = shares.std(axis=0) / np.sqrt(max(1, len(shares)))
    return recall, error


def _retrieved(hashed: Hashed, scale: float) -> tuple[Doubles, Doubles]:
    """Return the mean distinct and read rows of a query f8[L, C], of all rows."""
    m, n_tables, n_ranks = hashed.probes.shape
    gained, reads = np.zeros((2, n_tables, n_ranks), np.int64)
    best = np.empty(len(hashed.background), np.uint8)
    count_found(*_buckets(hashed), best, gained, reads)
    both = (np.cumsum(np.cumsum(each, axis=0), axis=1) * (scale / m) for each in (gained, reads))
    candidates, read = both
    return candidates, read


def _buckets(hashed: Hashed) -> tuple[Ids, Ids, Ids]:
    """Return the background by code i4[L, b], and each probe's first place and number i4[m, L, C] in it."""
    order = np.argsort(hashed.background, axis=0, kind="stable").astype(np.int32).T.copy()
    first, counts = np.empty((2, *hashed.probes.shape), np.int32)
    for table, rows in enumerate(order):
        codes, probes = hashed.background[rows, table], hashed.probes[:, table]
        first[:, table] = np.searchsorted(codes, probes, "left")
        counts[:, table] = np.searchsorted(codes, probes, "right") - first[:, table]
    counts[hashed.probes == EMPTY] = 0
    return order, first, counts
