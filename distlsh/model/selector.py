"""Active sets from the hash tables: the link between the output layer and LSH."""

from __future__ import annotations

import numpy as np

from distlsh.lsh.biased import as_queries
from distlsh.lsh.reader import TableReader
from distlsh.lsh.sampler import ActiveSampler
from distlsh.lsh.sketch import Sketcher
from distlsh.model.network import Instances
from distlsh.model.spec import Floats, Ids, Offsets, Seeds


class LshSelector:
    """Chooses each sample's active outputs: labels, retrieved neurons, random fill.

    A batch reads one generation of the tables, from its first query to its last.
    """

    def __init__(
        self,
        reader: TableReader,
        dataset: Instances,
        *,
        n_labels: int,
        n_active: int,
        n_random: int,
        batch: int,
        sampling: str = "topk",
        min_hits: int = 1,
        pool: int = 0,
    ) -> None:
        """Take what `ActiveSampler` takes; the tables give sizes, and sketches where they are needed."""
        spec = reader.spec
        self._reader = reader
        self._dataset = dataset
        self._sampler = ActiveSampler(
            n_labels,
            n_active,
            n_random,
            n_tables=spec.n_tables,
            n_codes=spec.n_codes,
            bucket_size=reader.bucket_size,
            batch=batch,
            sampling=sampling,
            min_hits=min_hits,
            pool=pool,
            sketcher=Sketcher(spec.n_dims, spec.seed) if sampling == "score" else None,
        )
        self._codes = np.empty((batch, spec.n_tables, spec.n_codes), np.int32)

    def select_batch(self, hidden: Floats, rows: Offsets, seeds: Seeds, active: Ids, bounds: Ids) -> None:
        """Write each sample's active neurons; see `model.step.Selector`."""
        codes = self._codes[: len(rows)]
        queries = as_queries(hidden, self._reader.spec.n_dims)
        self._reader.hasher.probes(queries, codes)
        data = self._dataset
        with self._reader.tables() as tables:
            labels = (data.label_indptr, data.labels)
            self._sampler.select(tables, codes, *labels, rows, seeds, active, bounds, queries)
