"""One pass over a sample: recall and candidates of every number of tables and probes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import EMPTY
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
    m, n_tables, n_ranks = hashed.probes.shape
    best = np.full(m * len(hashed.background), n_ranks, np.uint8)
    distinct, read = np.zeros(n_ranks + 1, np.int64), np.zeros(n_ranks + 1, np.int64)
    distinct[n_ranks] = best.size
    candidates, reads = np.empty((n_tables, n_ranks)), np.empty((n_tables, n_ranks))
    for table, (pairs, ranks) in enumerate(hits(hashed)):
        read += np.bincount(ranks, minlength=n_ranks + 1)
        better = ranks < best[pairs]
        pairs, ranks = pairs[better], ranks[better]
        distinct -= np.bincount(best[pairs], minlength=n_ranks + 1)
        distinct += np.bincount(ranks, minlength=n_ranks + 1)
        best[pairs] = ranks
        candidates[table] = np.cumsum(distinct[:n_ranks]) * (scale / m)
        reads[table] = np.cumsum(read[:n_ranks]) * (scale / m)
    return candidates, reads


def hits(hashed: Hashed) -> Iterator[tuple[NDArray[np.int64], Ranks]]:
    """Yield for each table the pairs it makes: query * b + background place, and the probe's rank.

    A pair is yielded once a table: a row has one code, and a table's probes are distinct.
    """
    n_background = len(hashed.background)
    for table in range(hashed.spec.n_tables):
        codes = hashed.background[:, table]
        order = np.argsort(codes, kind="stable")
        ordered = codes[order]
        probes = hashed.probes[:, table]
        first = np.searchsorted(ordered, probes, "left")
        counts = np.searchsorted(ordered, probes, "right") - first
        counts[probes == EMPTY] = 0
        query, rank = np.nonzero(counts)
        yield _expand(order, first[query, rank], counts[query, rank], query * n_background, rank)


def _expand(
    order: NDArray[np.int64],
    first: NDArray[np.int64],
    counts: NDArray[np.int64],
    base: NDArray[np.int64],
    rank: NDArray[np.int64],
) -> tuple[NDArray[np.int64], Ranks]:
    """Return a pair for each of the ``counts`` places of ``order`` from ``first``."""
    ends = np.cumsum(counts)
    within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
    places = order[np.repeat(first, counts) + within]
    return np.repeat(base, counts) + places, np.repeat(rank, counts).astype(np.uint8)
