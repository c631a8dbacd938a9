"""Active sets for training, and retrieved ids for inference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distlsh.errors import ShapeError
from distlsh.kernels.active import most_hits, retrieve_rows, select_active
from distlsh.lsh.tables import Tables

Ids = NDArray[np.int32]
Offsets = NDArray[np.int64]


class ActiveSampler:
    """Chooses active outputs, with the scratch of one thread.

    n_labels     outputs in all
    n_active     outputs wanted a sample
    n_random     of these, random ones at least
    n_tables, n_codes, bucket_size  of the tables and the codes (`HashSpec.n_codes`) that `select` is given
    batch        samples a call at most
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
    ) -> None:
        self.n_labels = n_labels
        self.n_active = n_active
        self.n_random = n_random
        self.batch = batch
        self._counts = np.zeros(n_labels, np.uint16)
        self._touched = np.zeros(min(n_labels, n_tables * n_codes * bucket_size) + 1, np.int32)
        self._levels = np.zeros(n_tables * n_codes + 3, np.int64)
        self._shape = (n_tables, n_codes, bucket_size)

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
    ) -> None:
        """Choose the active outputs of each sample: labels, then retrieved, then random ones.

        codes         i4[m, n_tables, n_codes], from `Hasher.probes`
        label_indptr  i8[n + 1] and labels i4[]: all instances' labels
        rows          i8[m], the samples' instances
        seeds         u8[m], the samples' random states; advanced
        active        i4[m, >= max(n_active, labels of an instance)], written; ids of a sample are distinct
        bounds        i4[m, 3], written: places [0, b0) are the labels, [b0, b1) retrieved ones by
                      descending count of buckets that hold them, [b1, b2) random ones

        A sample has max(n_active, its labels) active outputs, or all n_labels if that is
        fewer.  Raises ShapeError for other shapes.
        """
        m = len(rows)
        self._check(tables, codes, m, active, bounds, seeds)
        select_active(
            tables.ids, tables.sizes, codes, label_indptr, labels, rows, self.n_labels, self.n_active,
            self.n_random, seeds, self._counts, self._touched, self._levels, active, bounds,
        )  # fmt: skip

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


def retrieve(tables: Tables, codes: Ids) -> tuple[Ids, Ids]:
    """Return the distinct ids that each query's buckets hold: i4[m, width], and how many i4[m].

    codes  i4[m, n_tables, n_codes], from `Hasher.probes`

    Only the first ``found[i]`` places of row i mean anything.  The width is that of the
    query whose buckets hold most.
    Raises ShapeError for codes of other tables.
    """
    if codes.ndim != 3 or codes.shape[1] != tables.n_tables:
        raise ShapeError(
            f"codes of shape {codes.shape} for {tables.n_tables} tables; they must be (m, n_tables, codes)"
        )
    width = min(tables.n_rows, most_hits(tables.sizes, codes))
    out: Ids = np.empty((len(codes), width), np.int32)
    found: Ids = np.zeros(len(codes), np.int32)
    retrieve_rows(tables.ids, tables.sizes, codes, np.zeros(tables.n_rows, np.uint8), out, found)
    return out, found
