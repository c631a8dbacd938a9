"""Inference by hash tables: only the labels that they retrieve are scored."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import CACHE_LINE_BYTES, LSH_BLOCK
from distlsh.evaluation.screening import RowCodes, screened_candidates
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

    def hasher(self, n_probes: int | None = None) -> Hasher:
        """Return the calling thread's own hasher, of another number of probes than in training if given.

        ConfigError for a number that the hash functions do not have.
        """
        kept: dict[int, Hasher] = self._local.__dict__.setdefault("hashers", {})
        wanted = self.spec.n_probes if n_probes is None else n_probes
        if wanted not in kept:
            kept[wanted] = Hasher(replace(self.spec, n_probes=wanted))
        return kept[wanted]

    def marks(self) -> NDArray[np.uint8]:
        """Return the calling thread's own u1[rows] for `retrieve_labels`, all zeros."""
        found: NDArray[np.uint8] | None = getattr(self._local, "marks", None)
        if found is None:
            found = self._local.marks = np.zeros(self.tables.n_rows, np.uint8)
        return found

    def source(self) -> FixedTables:
        """Return the tables as a hashed hidden layer reads them, for the calling thread."""
        return FixedTables(self.spec, self.hasher(), self.tables)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much LSH inference looks at for its answer.

    n_probes        more buckets that a query reads in each table; None: as in training
    max_candidates  labels scored, those that most of the query's buckets hold; None: all retrieved
    """

    n_probes: int | None = None
    max_candidates: int | None = None


TRAINED = Effort()


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


def retrieve_labels(
    hidden: Floats,
    tables: Tables,
    hasher: Hasher,
    budget: int | None = None,
    marks: NDArray[np.uint8] | None = None,
) -> tuple[Ids, Counts]:
    """Return the distinct labels that each hidden vector's probes find.

    hidden  f4[m, d]
    budget  the most labels of a vector: those that most of its buckets hold; None: all
    marks   u1[labels], zeros: one thread's scratch, which a call without makes itself

    Returns i4[m, c], at places [0, counts[i]) of each row, and counts i4[m].
    """
    codes = hasher.probes(as_queries(hidden, hasher.spec.n_dims))
    return retrieve(tables, codes, budget=budget, marks=marks)


def rank_candidates(
    network: Network, hidden: Floats, candidates: Ids, counts: Counts, k: int, codes: RowCodes | None = None
) -> tuple[Ids, Floats]:
    """Return i4[m, k] and f4[m, k]: each row's best candidates and their logits.

    codes  of the output rows, where the caller keeps them: faster, and the same labels

    Best first, equal logits by lower label; -1 and -inf beyond the candidates.
    """
    spec, m = network.spec, len(hidden)
    bias = network.output_bias.weights.reshape(-1) if spec.bias else NO_BIAS
    of_labels = network.output.weights, bias, spec.logit_scale
    if codes is not None:
        return screened_candidates(hidden, *of_labels, k, codes, candidates, counts)
    ids, scores = np.empty((m, k), np.int32), np.empty((m, k), np.float32)
    candidate_topk(hidden, *of_labels, candidates, counts, ids, scores)
    return ids, scores


def lsh_topk(
    hidden: Floats,
    network: Network,
    view: TableView,
    k: int,
    effort: Effort = TRAINED,
    codes: RowCodes | None = None,
) -> tuple[Ids, Floats, Counts]:
    """Return the k best of the labels that the tables retrieve for each hidden vector.

    hidden  f4[m, d], hashed as it is
    codes   of the output rows, where the caller keeps them

    Returns i4[m, k], f4[m, k] as `rank_candidates` does, and i4[m], the distinct labels
    retrieved.  Works on 128 vectors at a time.
    """
    hasher, marks = view.hasher(effort.n_probes), view.marks()
    found = []
    for first in range(0, max(len(hidden), 1), LSH_BLOCK):
        some = hidden[first : first + LSH_BLOCK]
        candidates, counts = retrieve_labels(some, view.tables, hasher, effort.max_candidates, marks)
        found.append((*rank_candidates(network, some, candidates, counts, k, codes), counts))
    if len(found) == 1:
        return found[0]
    ids, scores, counts = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return ids, scores, counts
