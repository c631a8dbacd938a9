"""Inference by hash tables: only the labels that they retrieve are scored."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import CACHE_LINE_BYTES, LSH_BLOCK
from distlsh.evaluation.topk import NO_BIAS
from distlsh.kernels.topk import candidate_topk
from distlsh.lsh.biased import as_queries
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.layout import ADDED_LATER
from distlsh.lsh.sampler import retrieve
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tables import Tables
from distlsh.model.network import Network

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]
Counts = NDArray[np.int32]


_OLDER = {name: np.zeros((2, CACHE_LINE_BYTES // 4), np.float32) for name in ADDED_LATER}


class TableView:
    """The hash tables of a checkpoint, read-only, with scratch for each thread that asks."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], state: Mapping[str, Any]) -> None:
        """Take the generation last published.

        state  the fields of `HashSpec`, and ``bucket_policy``
        """
        self.spec = HashSpec.from_state(state)
        buffer = int(arrays["tables.generation"][0]) % 2
        self.tables = Tables(_OLDER | dict(arrays), buffer, state["bucket_policy"], self.spec.seed)
        self._local = threading.local()

    def hasher(self) -> Hasher:
        """Return the calling thread's own hasher."""
        if not hasattr(self._local, "hasher"):
            self._local.hasher = Hasher(self.spec)
        found: Hasher = self._local.hasher
        return found

    def source(self) -> FixedTables:
        """Return the tables as a hashed hidden layer reads them, for the calling thread."""
        return FixedTables(self.spec, self.hasher(), self.tables)


@dataclass(frozen=True, slots=True)
class FixedTables:
    """Tables that nobody writes to, with one thread's hasher: a `model.layers.tables.TableSource`."""

    spec: HashSpec
    hasher: Hasher
    current: Tables

    @property
    def bucket_size(self) -> int:
        """Ids that a bucket holds at most."""
        return self.current.bucket_size

    def tables(self) -> AbstractContextManager[Tables]:
        """Give the tables."""
        return nullcontext(self.current)


def retrieve_labels(hidden: Floats, tables: Tables, hasher: Hasher) -> tuple[Ids, Counts]:
    """Return the distinct labels that each hidden vector's probes find.

    hidden  f4[m, d]

    Returns i4[m, c], at places [0, counts[i]) of each row, and counts i4[m].
    """
    return retrieve(tables, hasher.probes(as_queries(hidden, hasher.spec.n_dims)))


def rank_candidates(
    network: Network, hidden: Floats, candidates: Ids, counts: Counts, k: int
) -> tuple[Ids, Floats]:
    """Return i4[m, k] and f4[m, k]: each row's best candidates and their logits.

    Best first, equal logits by lower label; -1 and -inf beyond the candidates.
    """
    spec, m = network.spec, len(hidden)
    bias = network.output_bias.weights.reshape(-1) if spec.bias else NO_BIAS
    ids, scores = np.empty((m, k), np.int32), np.empty((m, k), np.float32)
    candidate_topk(hidden, network.output.weights, bias, spec.logit_scale, candidates, counts, ids, scores)
    return ids, scores


def lsh_topk(
    hidden: Floats, network: Network, tables: Tables, hasher: Hasher, k: int
) -> tuple[Ids, Floats, Counts]:
    """Return the k best of the labels that the tables retrieve for each hidden vector.

    hidden  f4[m, d], hashed as it is

    Returns i4[m, k], f4[m, k] as `rank_candidates` does, and i4[m], the distinct labels
    retrieved.  Works on 128 vectors at a time.  ``hasher`` must be the calling thread's own.
    """
    blocks = [
        _lsh_block(hidden[first : first + LSH_BLOCK], network, tables, hasher, k)
        for first in range(0, max(len(hidden), 1), LSH_BLOCK)
    ]
    ids, scores, counts = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return ids, scores, counts


def _lsh_block(
    hidden: Floats, network: Network, tables: Tables, hasher: Hasher, k: int
) -> tuple[Ids, Floats, Counts]:
    candidates, counts = retrieve_labels(hidden, tables, hasher)
    return *rank_candidates(network, hidden, candidates, counts, k), counts
