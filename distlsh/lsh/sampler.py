"""Active sets for training, and retrieved ids for inference."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from distlsh.config.schema import Sampling
from distlsh.errors import ConfigError, ShapeError, UsageError
from distlsh.kernels.active import most_hits, retrieve_rows, select_active
from distlsh.lsh.sketch import Sketcher
from distlsh.lsh.tables import Tables

Ids = NDArray[np.int32]
Offsets = NDArray[np.int64]
Floats = NDArray[np.float32]

SAMPLINGS: tuple[str, ...] = get_args(Sampling)
RETRIEVALS = ("count", "score", "first")


class ActiveSampler:
    """Chooses active outputs, with the scratch of one thread.

    n_labels     outputs in all
    n_active     outputs wanted a sample
    n_random     of these, random ones at least
    n_tables, n_codes, bucket_size  of the tables and the codes (`HashSpec.n_codes`) that `select` is given
    batch        samples a call at most
    sampling     how retrieved ids are chosen (SLIDE, section 3.1.2, for the first three):
                 "topk"       those that most of the sample's buckets hold
                 "vanilla"    whole buckets of tables in random order, until there are enough
                 "threshold"  ids that at least ``min_hits`` of the sample's buckets hold
                 "score"      of the ``pool`` ids that most buckets hold, those whose inner product with
                              the sample is estimated largest, from the rows' sketches
    sketcher     of the rows' sketches; needed by "score" alone
    """

    def __init__(
        self,
        n_labels: int,
        n_active: int,
        n_random: int,
        *,
        n_tables: int,
        n_codes: int,
        bucket_size: int,
        batch: int,
        sampling: str = "topk",
        min_hits: int = 1,
        pool: int = 0,
        sketcher: Sketcher | None = None,
    ) -> None:
        if sampling not in SAMPLINGS:
            raise ConfigError(f"lsh.sampling is {sampling!r}; it must be one of {', '.join(SAMPLINGS)}")
        if sampling == "score" and sketcher is None:
            raise UsageError("sampling by score needs the rows' sketches; give a Sketcher")
        self.n_labels = n_labels
        self.n_active = n_active
        self.n_random = n_random
        self.batch = batch
        self.sampling = sampling
        self._min_hits = max(1, min_hits)
        self._sketcher = sketcher
        self._shape = (n_tables, n_codes, bucket_size)
        n_hits = min(n_labels, n_tables * n_codes * bucket_size)
        self._counts = np.zeros(n_labels, np.uint16)
        self._touched = np.zeros(n_hits + 1, np.int32)
        self._levels = np.zeros(n_tables * n_codes + 3, np.int64)
        self._order = np.zeros(n_tables, np.int32)
        n_pool = min(max(pool, n_active), n_hits) if sampling == "score" else 0
        self._pool, self._keys = np.zeros(n_pool, np.int32), np.zeros(n_pool, np.uint64)

    def select(
        self,
        tables: Tables,
        codes: Ids,
        label_indptr: Offsets,
        labels: Ids,
        rows: Offsets,
        seeds: NDArray[np.uint64],
        active: Ids,
        bounds: Ids,
        queries: Floats | None = None,
    ) -> None:
        """Choose the active outputs of each sample: labels, then retrieved, then random ones.

        codes         i4[m, n_tables, n_codes], from `Hasher.probes`
        label_indptr  i8[n + 1] and labels i4[]: all instances' labels
        rows          i8[m], the samples' instances
        seeds         u8[m], the samples' random states; advanced
        active        i4[m, >= max(n_active, labels of an instance)], written; ids of a sample are distinct
        bounds        i4[m, 3], written: places [0, b0) are the labels, [b0, b1) retrieved ones (sampling
                      "topk": by descending count of buckets that hold them), [b1, b2) random ones
        queries       f4[m, n_dims], what the codes are of; needed by sampling "score" alone

        A sample has max(n_active, its labels) active outputs, or all n_labels if that is
        fewer.  Raises ShapeError for other shapes, UsageError where a score has no sketches.
        """
        m = len(rows)
        self._check(tables, codes, m, active, bounds, seeds)
        lists: tuple[Any, ...] = (tables.ids, tables.sizes, codes, label_indptr, labels, rows)
        sizes = (self.n_labels, self.n_active, self.n_random)
        found = (self._counts, self._touched, self._levels)
        if self.sampling == "topk":
            select_active(*lists, *sizes, seeds, *found, active, bounds)
            return
        # Imported when used: a run loads no kernels of ways that it does not choose by.
        from distlsh.kernels.sampling import select_scored, select_threshold, select_vanilla

        if self.sampling == "vanilla":
            select_vanilla(*lists, *sizes, seeds, self._counts, self._order, active, bounds)
        elif self.sampling == "threshold":
            select_threshold(*lists, *sizes, self._min_hits, seeds, *found, active, bounds)
        else:
            sketch, planes, scales = _sketches(tables, self._sketcher, queries, m)
            scratch = (*found, self._pool, self._keys)
            select_scored(*lists, *sizes, sketch, planes, scales, seeds, *scratch, active, bounds)

    def _check(
        self, tables: Tables, codes: Ids, m: int, active: Ids, bounds: Ids, seeds: NDArray[np.uint64]
    ) -> None:
        n_tables, n_codes, bucket_size = self._shape
        if tables.ids.shape[0] != n_tables or tables.ids.shape[2] != bucket_size:
            raise ShapeError(
                f"tables of shape {tables.ids.shape}; "
                f"the sampler was made for {n_tables} tables with buckets of {bucket_size}"
            )
        if m > self.batch or codes.shape != (m, n_tables, n_codes) or len(seeds) != m:
            raise ShapeError(
                f"{m} samples with codes of shape {codes.shape} and {len(seeds)} seeds; "
                f"the sampler takes at most {self.batch}, with codes (m, {n_tables}, {n_codes})"
            )
        width = min(self.n_active, self.n_labels)
        if len(active) < m or active.shape[1] < width or len(bounds) < m or bounds.shape[1] != 3:
            raise ShapeError(
                f"active of shape {active.shape} and bounds of shape {bounds.shape}; "
                f"{m} samples need ({m}, {width} or more) and ({m}, 3)"
            )


def retrieve(
    tables: Tables,
    codes: Ids,
    *,
    budget: int | None = None,
    how: str = "count",
    queries: Floats | None = None,
    sketcher: Sketcher | None = None,
    marks: NDArray[np.uint8] | None = None,
) -> tuple[Ids, Ids]:
    """Return the distinct ids that each query's buckets hold: i4[m, width], and how many i4[m].

    codes    i4[m, n_tables, n_codes], from `Hasher.probes`
    budget   the most ids of a query; None: all that its buckets hold, in the order found
    how      which ids a budget keeps:
             "count"  those that most of the query's buckets hold, by descending count
             "score"  those with the largest estimated inner products, in no order; needs ``queries``
                      f4[m, n_dims], the ``sketcher`` of the tables' sketches, and tables with sketches
             "first"  those found first: in all tables' own buckets, then in their next best ones
    marks    u1[n_rows], zeros before and after: one thread's scratch, which a call without makes itself

    Only the first ``found[i]`` places of row i mean anything.  The width is that of the
    query whose buckets hold most, or the budget.  A query's ids do not depend on the other queries.
    Raises ShapeError for codes of other tables, UsageError for an unknown or impossible choice.
    """
    if codes.ndim != 3 or codes.shape[1] != tables.n_tables:
        raise ShapeError(
            f"codes of shape {codes.shape} for {tables.n_tables} tables; they must be (m, n_tables, codes)"
        )
    if codes.size and codes.max() >= tables.n_buckets:
        raise ShapeError(f"codes reach {codes.max()}; these tables have {tables.n_buckets} buckets")
    if how not in RETRIEVALS:
        raise UsageError(f"ids cannot be retrieved by {how!r}; use one of {', '.join(RETRIEVALS)}")
    if budget is not None and budget < 1:
        raise UsageError(f"a budget of {budget} ids a query retrieves nothing; give 1 or more, or None")
    if budget is None or how == "score":
        every = _retrieve_all(tables, codes, marks)
        return every if budget is None else _keep_scored(tables, *every, budget, queries, sketcher)
    return _retrieve_some(tables, codes, min(budget, tables.n_rows), how)


def _retrieve_all(tables: Tables, codes: Ids, marks: NDArray[np.uint8] | None) -> tuple[Ids, Ids]:
    width = min(tables.n_rows, most_hits(tables.sizes, codes))
    out: Ids = np.empty((len(codes), width), np.int32)
    found: Ids = np.zeros(len(codes), np.int32)
    marks = np.zeros(tables.n_rows, np.uint8) if marks is None else marks
    retrieve_rows(tables.ids, tables.sizes, codes, marks, out, found)
    return out, found


def _retrieve_some(tables: Tables, codes: Ids, budget: int, how: str) -> tuple[Ids, Ids]:
    from distlsh.kernels.sampling import retrieve_first, retrieve_frequent

    out: Ids = np.empty((len(codes), budget), np.int32)
    found: Ids = np.zeros(len(codes), np.int32)
    counts = np.zeros(tables.n_rows, np.uint16)
    if how == "first":
        retrieve_first(tables.ids, tables.sizes, codes, budget, counts, out, found)
        return out, found
    touched = np.empty(min(tables.n_rows, most_hits(tables.sizes, codes)) + 1, np.int32)
    levels = np.zeros(codes.shape[1] * codes.shape[2] + 3, np.int64)
    state = np.ones(1, np.uint64)
    retrieve_frequent(tables.ids, tables.sizes, codes, budget, counts, touched, levels, state, out, found)
    return out, found


def _keep_scored(
    tables: Tables, every: Ids, found: Ids, budget: int, queries: Floats | None, sketcher: Sketcher | None
) -> tuple[Ids, Ids]:
    from distlsh.kernels.sampling import keep_scored

    budget = min(budget, tables.n_rows)
    out: Ids = np.empty((len(every), budget), np.int32)
    keys = np.empty(every.shape[1], np.uint64)
    keep_scored(*_sketches(tables, sketcher, queries, len(every)), every, found, budget, keys, out)
    return out, found


def _sketches(
    tables: Tables, sketcher: Sketcher | None, queries: Floats | None, m: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], Floats]:
    """Return the rows' sketches and those of the queries, or say what is missing."""
    if tables.sketch is None:
        raise UsageError("these tables keep no sketches to score by; set lsh.sampling: score, or use counts")
    if queries is None or sketcher is None:
        raise UsageError("scores need the queries and a Sketcher beside the codes; give both")
    if len(queries) != m:
        raise ShapeError(f"{len(queries)} queries for the codes of {m}; give the vectors that were hashed")
    return tables.sketch, *sketcher.queries(queries)
