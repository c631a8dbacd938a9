"""`LSHIndex`: nearest neighbours of dense or sparse vectors, by hash tables."""

from __future__ import annotations

import inspect
import math
import os
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from distlsh.errors import NotFittedError, StoreError, UsageError
from distlsh.files import short
from distlsh.lsh.index import inputs, settings, storage
from distlsh.lsh.index.candidates import candidate_rows
from distlsh.lsh.index.encoder import Encoder
from distlsh.lsh.index.fitting import fit_encoder, stored_rows
from distlsh.lsh.index.metrics import METRICS, distances, normalised
from distlsh.lsh.index.search import Effort, search
from distlsh.lsh.index.segment import Segment
from distlsh.lsh.index.segments import taken_of_all, tidied, without
from distlsh.lsh.index.stats import IndexStats, measure
from distlsh.lsh.index.threads import n_threads
from distlsh.lsh.rows import Floats, Rows, SparseRows, n_rows
from distlsh.lsh.spec import HashSpec

if TYPE_CHECKING:
    from distlsh.lsh.tuning import Tuning

__all__ = ["METRICS", "LSHIndex"]

Labels = NDArray[np.int64]

_SPARE = 0.6, 4
"""Candidates scored exactly beyond the neighbours wanted: a share of these, and at least."""


@dataclass(frozen=True)
class _State:
    """What a search needs, replaced as a whole: searches go on with the state they began with.

    segments  in the order of their labels, at least one
    next_id   the id of the row added next
    """

    encoder: Encoder
    segments: tuple[Segment, ...]
    next_id: int


class LSHIndex:
    """Approximate nearest neighbours by locality-sensitive hashing.

    family        "auto" (cross_polytope; for jaccard minhash), or a family that serves the metric:
                  cosine: cross_polytope, srp, fast_srp, sparse_srp, wta, dwta; dot: those but wta and
                  dwta; euclidean: cross_polytope, srp, fast_srp, sparse_srp, l2; jaccard: minhash, doph
    n_hashes      K, hashes of a code; None: from the number of rows
    n_tables      L, tables; None: 8 for cross_polytope, else 24
    n_probes      more buckets that a query reads in each table; None: 7, or 0 where a family has none
    metric        "cosine", "dot" (inner product), "euclidean" or "jaccard" (rows are the sets of their
                  non-zeros)
    seed          of the hash functions
    dim           coordinates of a hash (cross_polytope), a power of two; None: from the number of rows
    bin_size      coordinates of a hash (wta, dwta), a power of two
    density       share of a projection that is not 0 (sparse_srp)
    l2_width      width of a projection's slots (l2), in the vectors' units; None: from the data
    code_bits     a table has 2**code_bits buckets (l2, minhash, doph)
    n_components  leading principal components that are hashed instead of the vectors; dense vectors then have
                  sketches too; None: 16, 32 or 60, as many as have most of the variance, none for families
                  of other kinds or where no direction leads; of sparse vectors 60 where they are wide and the
                  family rotates them, else none; 0: none
    n_rerank      candidates scored exactly, those of the best sketches; None: k and 60% more; 0: all
    max_candidates  rows taken of a query's buckets, likelier buckets first; None: all
    n_jobs        threads; None or -1: one for each core

    Vectors are rows of a NumPy array of any type of real numbers or of a SciPy sparse array;
    they are kept as float32.  Ids count rows from 0 in the order they came, and are never used again.

    Searches may run in several threads at a time, also while another adds or removes.
    Parameters are only stored here, as scikit-learn has it: what they mean is decided by `fit`.
    Of a fitted index, n_probes, n_rerank, max_candidates and n_jobs may be changed.
    Raises ConfigError for an unknown family or metric, or a family that does not serve the metric.
    """

    def __init__(
        self,
        family: str = "auto",
        n_hashes: int | None = None,
        n_tables: int | None = None,
        n_probes: int | None = None,
        metric: str = "cosine",
        seed: int = 1,
        *,
        dim: int | None = None,
        bin_size: int = 8,
        density: float = 1 / 3,
        l2_width: float | None = None,
        code_bits: int = 16,
        n_components: int | None = None,
        n_rerank: int | None = None,
        max_candidates: int | None = None,
        n_jobs: int | None = None,
    ) -> None:
        settings.check_metric(metric)
        settings.choose_family(family, metric)
        self.family = family
        self.n_hashes = n_hashes
        self.n_tables = n_tables
        self.n_probes = n_probes
        self.metric = metric
        self.seed = seed
        self.dim = dim
        self.bin_size = bin_size
        self.density = density
        self.l2_width = l2_width
        self.code_bits = code_bits
        self.n_components = n_components
        self.n_rerank = n_rerank
        self.max_candidates = max_candidates
        self.n_jobs = n_jobs
        self.tuning_: Tuning | None = None
        self._state: _State | None = None
        self._lock = Lock()

    # -- rows ----------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> LSHIndex:
        """Index the rows of ``X`` [n, n_dims] under the ids 0 .. n - 1, in place of any before; return self.

        y  ignored

        Raises ShapeError, UsageError or ConfigError for input or parameters that cannot be indexed.
        """
        del y
        rows = stored_rows(inputs.as_rows(X, "vectors", sets=self.metric == "jaccard"), self.metric)
        threads = n_threads(self.n_jobs)
        encoder = fit_encoder(rows, self.get_params())
        labels = np.arange(n_rows(rows), dtype=np.int64)
        with self._lock:
            segment = Segment.build(rows, labels, encoder, threads)
            self._state = _State(encoder, (segment,), len(labels))
        return self

    @classmethod
    def tune(
        cls, X: Any, target_recall: float = 0.9, k: int = 10, max_candidates: float | None = None,
        *, queries: Any = None, metric: str = "cosine", n_jobs: int | None = None, **options: Any,
    ) -> LSHIndex:  # fmt: skip
        """Return an index of ``X`` whose parameters are chosen by measuring; its ``tuning_`` tells of them.

        target_recall   share of the k exact neighbours that a search shall find
        max_candidates  distinct rows that a query may meet in the mean: a number, or below 1 a share
        queries         what will be asked; None: rows of ``X``, each without itself
        options         families, max_bytes, max_tables ... of `distlsh.lsh.tuning.for_index.tune_index`

        Where nothing reaches the goal, the nearest is used; ``tuning_.out_of_reach`` says what is missing.
        Raises as `fit` does, and UsageError for a goal that makes no sense.
        """
        from distlsh.lsh.tuning.for_index import tune_index, tuned_index

        goal: Any = {"target_recall": target_recall, "k": k, "max_candidates": max_candidates}
        found = tune_index(X, queries, metric=metric, **goal, **options)
        index = tuned_index(found, X, n_jobs)
        index.tuning_ = found.tuning
        return index

    def add(self, X: Any) -> Labels:
        """Index more rows; return their ids i8[m].

        Directions, centre and parameters stay those of `fit`.  Rows added are kept in segments
        of their own, which are merged as they grow, so give many rows a call.
        Raises as `fit` does, and NotFittedError.
        """
        rows = stored_rows(self._rows(X, "vectors"), self.metric)
        threads = n_threads(self.n_jobs)
        with self._lock:
            state = self._fitted()
            labels = np.arange(state.next_id, state.next_id + n_rows(rows), dtype=np.int64)
            new = Segment.build(rows, labels, state.encoder, threads)
            segments = tidied((*state.segments, new), threads)
            self._state = _State(state.encoder, segments, state.next_id + len(labels))
        return labels

    def remove(self, ids: Any) -> None:
        """Remove the rows of ``ids``: they are found no more.

        Raises UsageError for an id that is not in the index, was removed or is given twice: then
        none is removed.  NotFittedError.
        """
        self._fitted()
        wanted = np.sort(inputs.as_ids(ids))
        with self._lock:
            state = self._fitted()
            segments = tuple(without(segment, wanted) for segment in state.segments)
            gone = sum(s.n_removed for s in segments) - sum(s.n_removed for s in state.segments)
            if gone != len(wanted):
                known = np.concatenate([s.labels[~s.removed] for s in state.segments])
                missing = wanted[~np.isin(wanted, known)]
                raise UsageError(
                    f"id {missing[0]} is not in the index, or was removed; {len(self)} rows are, "
                    f"with ids below {state.next_id}"
                )
            segments = tidied(segments, n_threads(self.n_jobs))
            self._state = _State(state.encoder, segments, state.next_id)

    def __len__(self) -> int:
        """Return the number of rows that can be found; 0 before `fit`."""
        return sum(s.n_rows - s.n_removed for s in self._state.segments) if self._state else 0

    # -- queries -------------------------------------------------------------------------------

    def search(
        self,
        Q: Any,
        k: int = 10,
        *,
        n_probes: int | None = None,
        max_candidates: int | None = None,
        n_rerank: int | None = None,
    ) -> tuple[Labels, Floats]:
        """Return the ids i8[m, k] and scores f4[m, k] of the best rows found for each query, best first.

        Q  [m, n_dims], dense or sparse whatever the rows are
        k  1 or more
        n_probes, max_candidates, n_rerank  in place of the index's own, for this search

        Scores are exact: cosine similarity, inner product or Jaccard similarity, descending; Euclidean
        distance, ascending.  Of equal scores the lower id is first.  Places beyond the rows found have
        id -1 and score -inf (euclidean: inf).  A row or query of zeros has cosine similarity 0; two
        empty sets are equal.
        Raises ShapeError or UsageError for queries or k that do not fit, NotFittedError.
        """
        k = inputs.check_k(k)
        state = self._fitted()
        queries = self._rows(Q, "queries")
        return self._search(state, queries, k, self._effort(k, n_probes, max_candidates, n_rerank))

    def candidates(
        self, Q: Any, *, n_probes: int | None = None, max_candidates: int | None = None
    ) -> csr_array:
        """Return which rows each query's buckets hold: a CSR array u1[m, ids given so far], 1 where found.

        ``indices`` of a row are the ids, ascending.  Raises as `search` does.
        """
        state = self._fitted()
        effort = self._effort(1, n_probes, max_candidates, None)
        queries = self._rows(Q, "queries")
        return candidate_rows(
            state.encoder, state.segments, queries, state.next_id, effort, n_threads(self.n_jobs)
        )

    def kneighbors(
        self, X: Any = None, n_neighbors: int = 5, return_distance: bool = True
    ) -> tuple[Floats, Labels] | Labels:
        """Return the distances f4[m, n_neighbors] and ids i8[m, n_neighbors] of neighbours, nearest first.

        X                the queries; None: the rows of the index, in order, each without itself
        return_distance  False: only the ids

        Distances are 1 - similarity for cosine and jaccard, negative inner products for dot.  Places
        beyond the rows found have id -1 and distance inf.  Raises as `search` does.
        """
        k = inputs.check_k(n_neighbors)
        if X is not None:
            ids, scores = self.search(X, k)
        else:
            ids, scores = self._others(k)
        return (distances(self.metric, scores), ids) if return_distance else ids

    # -- files ---------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to the directory ``path``, which appears whole or not at all.

        An index already there is replaced; those who have it mapped keep theirs.
        Raises UsageError where ``path`` is something else or cannot be written, NotFittedError.
        """
        state = self._fitted()
        storage.save(path, self.get_params(), state.encoder, state.segments, state.next_id)

    @classmethod
    def load(cls, path: str | os.PathLike[str], mmap: bool = True, *, verify: bool = True) -> LSHIndex:
        """Return the index saved at ``path``.

        mmap    map the files: vectors and sketches are not read before they are needed, and processes
                share the memory; otherwise read them
        verify  look at every id and place in the tables, and in sparse rows, which reads these; without
                it, files that are not as `save` wrote them can crash a search

        Adding and removing change the index in memory, never the files.
        Raises StoreError if there is no index of this version, or it is damaged.
        """
        params, encoder, segments, next_id = storage.load(path, mmap, verify)
        try:
            index = cls(**params)
        except (TypeError, UsageError) as error:
            raise StoreError(f"{path}: the index is damaged ({short(error)}); save it again") from None
        index._state = _State(encoder, segments, next_id)
        return index

    @property
    def spec_(self) -> HashSpec:
        """The hash functions, with all that was chosen."""
        return self._fitted().encoder.spec

    @property
    def n_features_in_(self) -> int:
        """Dimensions of the vectors."""
        rows = self._fitted().segments[0].rows
        return rows.n_dims if isinstance(rows, SparseRows) else int(rows.shape[1])

    @property
    def n_samples_fit_(self) -> int:
        """Rows that can be found."""
        self._fitted()
        return len(self)

    @property
    def n_bytes(self) -> int:
        """Bytes of vectors, sketches and tables, mapped ones included."""
        state = self._fitted()
        return sum(segment.n_bytes for segment in state.segments) + state.encoder.n_bytes

    def stats(self) -> IndexStats:
        """Return how full the tables are, and what the index holds."""
        state = self._fitted()
        return measure(state.encoder, state.segments)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters given to the constructor or `set_params`."""
        del deep
        return {name: getattr(self, name) for name in _PARAMS}

    def set_params(self, **params: Any) -> LSHIndex:
        """Set parameters; return self.  UsageError for an unknown one."""
        for name, value in params.items():
            if name not in _PARAMS:
                raise UsageError(f"LSHIndex has no parameter {name!r}; it has {', '.join(_PARAMS)}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        default = LSHIndex().get_params()
        given = {name: value for name, value in self.get_params().items() if value != default[name]}
        return f"LSHIndex({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = Lock()

    # -- inside --------------------------------------------------------------------------------

    def _fitted(self) -> _State:
        if self._state is None:
            raise NotFittedError("the index holds no vectors yet; call fit(X) first")
        return self._state

    def _rows(self, X: Any, what: str) -> Rows:
        """Return vectors checked, dense or sparse as the index's rows are."""
        kept = self._fitted().segments[0].rows
        rows = inputs.as_rows(X, what, self.n_features_in_, sets=self.metric == "jaccard")
        return inputs.as_sparse(rows) if isinstance(kept, SparseRows) else inputs.as_dense(rows)

    def _effort(
        self, k: int, n_probes: int | None, max_candidates: int | None, n_rerank: int | None
    ) -> Effort:
        """Return the effort asked for in a call, else by the parameters, else as fitted."""
        spec = self.spec_
        probes = next((n for n in (n_probes, self.n_probes) if n is not None), spec.n_probes)
        most = next((n for n in (max_candidates, self.max_candidates) if n is not None), 0)
        usual = k + max(math.ceil(_SPARE[0] * k), _SPARE[1])
        exact = next((n for n in (n_rerank, self.n_rerank) if n is not None), usual)
        for name, value in (("n_probes", probes), ("max_candidates", most), ("n_rerank", exact)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
                raise UsageError(f"{name} is {short(value)}; it must be a whole number, 0 or more")
        return Effort(probes, most, exact)

    def _search(self, state: _State, queries: Rows, k: int, effort: Effort) -> tuple[Labels, Floats]:
        if self.metric == "cosine":
            queries = normalised(queries)
        labels, scores, _ = search(state.encoder, state.segments, queries, k, effort, n_threads(self.n_jobs))
        if self.metric == "euclidean":
            np.sqrt(np.maximum(np.negative(scores, out=scores), 0.0, out=scores), out=scores)
        return labels, scores

    def _others(self, k: int) -> tuple[Labels, Floats]:
        """Return each row's own neighbours."""
        state = self._fitted()
        rows, own = taken_of_all(state.segments)
        labels, scores = self._search(state, rows, k + 1, self._effort(k + 1, None, None, None))
        # Where a row did not find itself, among many equal ones, the last is left out instead.
        kept = labels != own[:, None]
        kept[kept.all(axis=1), -1] = False
        return labels[kept].reshape(-1, k), scores[kept].reshape(-1, k)


_PARAMS = tuple(inspect.signature(LSHIndex.__init__).parameters)[1:]
