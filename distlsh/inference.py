"""Use of a trained model: predictions and evaluation from a checkpoint."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from distlsh.config.schema import Config
from distlsh.constants import PRETRAIN, RECALL_K, SPARSE_BLOCK, TUNED_FAMILIES
from distlsh.data.dataset import Dataset
from distlsh.data.opening import open_pair
from distlsh.errors import CheckpointError, DistlshError, ShapeError, StoreError, UsageError
from distlsh.evaluation.evaluate import evaluate_rows
from distlsh.evaluation.features import FeatureRows
from distlsh.evaluation.parallel import in_blocks, n_cores
from distlsh.evaluation.propensity import inv_propensity
from distlsh.evaluation.ranker import ExactRanker
from distlsh.evaluation.sums import EvalSums, to_evaluation
from distlsh.evaluation.tables import TRAINED, Effort, TableView, lsh_topk
from distlsh.files import short
from distlsh.lsh.checks import check_arrays
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.stats import TableStats
from distlsh.lsh.tables import GENERATION
from distlsh.model.checkpoint import latest_checkpoint, read_checkpoint
from distlsh.model.layers.choosers import Chooser
from distlsh.model.network import Network
from distlsh.model.spec import NetworkSpec, array_dtype, array_shapes, layer_name
from distlsh.model.storage import as_floats
from distlsh.protocol.reports import Evaluation

if TYPE_CHECKING:
    from distlsh.lsh.tuning import Tuning

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Progress = Callable[[int, int], None]

METHODS = ("exact", "lsh")
log = logging.getLogger(__name__)


class Model:
    """A trained network with its hash tables, mapped read-only from a checkpoint's files.

    spec    the network's shape and kind
    path    of the checkpoint
    config  of the run that trained it

    Methods may be called from several threads.
    """

    def __init__(self, path: Path, arrays: Mapping[str, NDArray[Any]], state: Mapping[str, Any]) -> None:
        self.path = path
        self.config = msgspec.convert(state["config"], Config)
        self.spec = NetworkSpec.from_dict(state["model"])
        self._network = Network(self.spec, arrays)
        self._exact = ExactRanker(self._network)
        self._tables = TableView(arrays, state["lsh"]) if state["lsh"] else None
        self._hidden_tables = _hidden_tables(arrays, state.get("hidden_lsh", {}))
        self._state = state

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, verify: bool = True) -> Model:
        """Return the model of a run directory's newest whole checkpoint, or of one checkpoint.

        verify  compare checksums, which reads the files once; sizes are always compared

        A damaged newest checkpoint is logged as a warning and the one before is used;
        CheckpointError if there is none.
        """
        found = latest_checkpoint(Path(path), verify=verify).path
        arrays, state = read_checkpoint(found, verify=False, mmap=True)
        position = state.get("position", {})
        if isinstance(position, dict) and position.get("stage") == PRETRAIN:
            raise CheckpointError(
                f"{found}: saved in the pretraining, before the output rows had values: it cannot predict; "
                f"go on with: distlsh-launch --resume {found.parent.parent}"
            )
        try:
            msgspec.convert(position, dict[str, Any])
            _check(arrays, state, contents=verify)
            return cls(found, arrays, state)
        except (KeyError, TypeError, ValueError, AttributeError, StoreError, UsageError) as error:
            raise CheckpointError(
                f"{found}: does not describe a model ({short(repr(error))}); "
                "load it with the distlsh that wrote it"
            ) from error

    @property
    def normalize(self) -> str:
        """How each instance's features were scaled for training: "none" or "l2".

        `predict` scales arrays so by itself; a data set is to be opened with
        ``open_dataset(path, normalize=model.normalize)``.
        """
        return self.config.data.normalize

    @property
    def has_tables(self) -> bool:
        """Whether any layer has hash tables, which ``method="lsh"`` needs."""
        return self._tables is not None or bool(self._hidden_tables)

    def table_stats(self) -> TableStats | None:
        """Return how full the hash tables are; None where the output is dense."""
        return None if self._tables is None else self._tables.tables.stats()

    def predict(
        self,
        X: Any,
        k: int = 5,
        method: str = "exact",
        *,
        n_probes: int | None = None,
        max_candidates: int | None = None,
    ) -> tuple[NDArray[np.int64], Floats]:
        """Return the k best labels of each row and their logits, best first.

        X       SciPy sparse or dense [m, n_features], numbers that are finite as float32
        k       1 .. n_labels
        method  "exact", or "lsh": only labels that the hash tables retrieve are scored, and in hashed
                hidden layers only neurons that theirs retrieve
        n_probes        more buckets that a row reads in each of the output's tables; None: as in training
        max_candidates  labels scored, those that most of a row's buckets hold; None: all retrieved.
                        More of either finds more of the exact answer and takes longer.  Both: "lsh" alone

        Returns i8[m, k] and f4[m, k]; of equal logits the lower label is first.  Places
        without a label ("lsh" may retrieve fewer than k) hold -1 and -inf.  Works on all
        cores, in blocks of rows.  ShapeError if X or k does not fit the model; UsageError or
        ConfigError for an effort that the tables do not have.
        """
        features = FeatureRows(X, self.spec.n_features, unit=self.normalize == "l2")
        network = self._network
        return self._predict(
            features.n_rows,
            lambda a, b: network.hidden_csr(*features.block(a, b), choosers=self._choosers(method)),
            k,
            method,
            Effort(n_probes, max_candidates),
        )

    @property
    def output_weights(self) -> Floats:
        """The output rows f4[n_labels, d], read-only; a copy where they are stored as bfloat16."""
        return as_floats(self._network.output.weights)

    def hidden(self, dataset: Dataset, rows: Rows | None = None) -> Floats:
        """Return what the output layer, and so the hash tables, are asked with: f4[m, d].

        rows  i8[m] of the data set; None: all
        """
        self._check_data(replace(dataset, n_labels=0))
        chosen = _chosen_rows(dataset, rows)
        out = np.empty((len(chosen), self.spec.width), np.float32)

        def work(first: int, last: int) -> None:
            out[first:last] = self._network.hidden(dataset, chosen[first:last])

        in_blocks(len(chosen), work)
        return out

    def tune(
        self,
        dataset: Dataset,
        target_recall: float,
        k: int = 10,
        max_candidates: float | None = None,
        *,
        max_bytes: int | None = None,
        families: Sequence[str] | None = None,
        max_tables: int | None = None,
        max_probes: int | None = None,
        sample: int = 512,
        seed: int = 1,
        without_labels: bool = False,
        progress: Progress | None = None,
    ) -> Tuning:
        """Measure which hash functions of the output's rows find the k outputs of highest logit.

        dataset         instances, of which ``sample`` ask with their hidden vectors
        max_candidates  distinct outputs that an instance may find in the mean: a number, or below 1 a share
        max_bytes       of the tables, both buffers
        max_tables, max_probes  tried at most; None: 64 and 16
        without_labels  an instance's labels do not count, as in training, where they are computed anyway

        Center, transform, density and probing are those of the run.  See `distlsh.lsh.tuning`.
        """
        from distlsh.lsh.tuning import Goal, solve
        from distlsh.lsh.tuning.grid import families_of, limits
        from distlsh.model.tuning import output_specs, pose_output

        self._check_data(dataset)
        goal, lsh = Goal(target_recall, k, max_candidates, max_bytes), self.config.lsh
        most = limits(max_tables, max_probes)
        tried = TUNED_FAMILIES if families is None else families_of("cosine", families)
        problem = pose_output(
            self._network, dataset, lsh, k, sample=sample, seed=(seed,), without_labels=without_labels
        )
        specs = output_specs(problem, lsh, tried, self.config.train.seed, **most)
        return solve(problem, goal, specs, storage="buckets", seed=seed, progress=progress)

    def predict_rows(
        self,
        dataset: Dataset,
        rows: Rows | None = None,
        k: int = 5,
        method: str = "exact",
        *,
        n_probes: int | None = None,
        max_candidates: int | None = None,
    ) -> tuple[NDArray[np.int64], Floats]:
        """Return what `predict` does for rows i8[m] of a data set (None: all), whatever its labels."""
        self._check_data(replace(dataset, n_labels=0))
        chosen = _chosen_rows(dataset, rows)
        return self._predict(
            len(chosen),
            lambda a, b: self._network.hidden(dataset, chosen[a:b], self._choosers(method)),
            k,
            method,
            Effort(n_probes, max_candidates),
        )

    def evaluate(
        self,
        dataset: Dataset,
        rows: Rows | None = None,
        *,
        lsh: bool = True,
        inverse: Floats | None = None,
        kind: str = "final",
        progress: Progress | None = None,
    ) -> Evaluation:
        """Return the ranking metrics on rows i8[m] of a data set (None: all), on all cores.

        lsh      also by LSH inference, with the recall of the tables, if the model has tables
        inverse  f4[n_labels], inverse propensities; None: those of the training data, or
                 ones, with a warning in the log, where that cannot be opened
        progress  called with (rows done, rows)

        Rows without labels do not count.  ShapeError if the data does not fit the model.
        """
        self._check_data(dataset)
        chosen = _chosen_rows(dataset, rows)
        inverse = self.inverse_propensity() if inverse is None else np.ascontiguousarray(inverse, np.float32)
        if inverse.shape != (self.spec.n_labels,):
            raise ShapeError(f"inverse has shape {inverse.shape}; one number a label is {self.spec.n_labels}")
        view, method = (self._tables, "lsh") if lsh else (None, "exact")
        parts: list[EvalSums] = []
        start = time.perf_counter()
        codes = self._exact.codes(RECALL_K) if len(chosen) else None

        def work(first: int, last: int) -> None:
            hasher, tables = (view.hasher(), view.tables) if view is not None else (None, None)
            some, choosers = chosen[first:last], self._choosers(method)
            parts.append(
                evaluate_rows(self._network, hasher, tables, dataset, some, inverse, choosers, codes)
            )

        in_blocks(len(chosen), work, progress=progress)
        eval_s = time.perf_counter() - start
        return to_evaluation(sum(parts, EvalSums()), kind=kind, eval_s=eval_s, **self._position())

    def inverse_propensity(self) -> Floats:
        """Return f4[n_labels] from the training data's label counts and the run's A and B."""
        settings = self.config.eval
        try:
            train, _ = open_pair(msgspec.structs.replace(self.config.data, test=None))
        except DistlshError as error:
            # the text alone: a kept record must not keep the frames that hold the model's files
            log.warning(f"PSP is computed without propensities: the training data cannot be opened: {error}")
            return np.ones(self.spec.n_labels, np.float32)
        counts = np.zeros(self.spec.n_labels, np.int64)
        counts[: train.n_labels] = train.label_counts()
        return inv_propensity(counts, train.n_rows, settings.propensity_a, settings.propensity_b)

    def _position(self) -> dict[str, Any]:
        position = self._state.get("position", {})
        return {
            "epoch": position.get("epoch", 0),
            "samples": position.get("samples", 0),
            "train_s": self._state.get("train_s", 0.0),
        }

    def _check_data(self, dataset: Dataset) -> None:
        self._network.check_fits(dataset)
        found = dataset.meta.get("normalize", self.normalize)
        if found != self.normalize:
            raise ShapeError(
                f"{dataset.source}: opened with normalize={found!r}, but the model was trained with "
                f"{self.normalize!r}; use open_dataset(path, normalize={self.normalize!r})"
            )

    def _choosers(self, method: str) -> dict[int, Chooser]:
        """Return what chooses the neurons of hashed hidden layers, for one thread: none, the exact top."""
        if method == "exact" or not self._hidden_tables:
            return {}
        from distlsh.model.layers.tables import hidden_choosers

        sources = {i: view.source() for i, view in self._hidden_tables.items()}
        return hidden_choosers(self.spec, self.config.lsh.hidden, sources, SPARSE_BLOCK)

    def _predict(
        self, n_rows: int, hidden: Callable[[int, int], Floats], k: int, method: str, effort: Effort
    ) -> tuple[NDArray[np.int64], Floats]:
        self._check_request(k, method, effort)
        ids, scores = np.empty((n_rows, k), np.int64), np.empty((n_rows, k), np.float32)

        def work(first: int, last: int) -> None:
            some = hidden(first, last)
            threads = n_cores() if len(some) == n_rows else 1
            ids[first:last], scores[first:last] = self._topk(some, k, method, effort, threads)

        in_blocks(n_rows, work)
        return ids, scores

    def _check_request(self, k: int, method: str, effort: Effort) -> None:
        if method not in METHODS:
            raise UsageError(f"method {method!r} is unknown; use one of {', '.join(METHODS)}")
        if method == "lsh" and not self.has_tables:
            raise UsageError(f"{self.path}: the model's layers are without hash tables; use method='exact'")
        if effort != TRAINED and (method != "lsh" or self._tables is None):
            raise UsageError(
                f"n_probes and max_candidates are of the output's tables, which method {method!r} of this "
                "model does not read; leave them out, or use method='lsh' with a model that has tables"
            )
        if effort.max_candidates is not None and effort.max_candidates < k:
            raise UsageError(
                f"max_candidates is {effort.max_candidates}, below the {k} labels wanted; raise it"
            )
        if not 1 <= k <= self.spec.n_labels:
            raise ShapeError(f"k is {k}; it must be between 1 and the model's {self.spec.n_labels} labels")

    def _topk(
        self, hidden: Floats, k: int, method: str, effort: Effort, n_threads: int
    ) -> tuple[NDArray[Any], Floats]:
        if method == "exact" or self._tables is None:
            return self._exact.topk(hidden, k, n_threads)
        ids, scores, _ = lsh_topk(hidden, self._network, self._tables, k, effort, self._exact.codes(k))
        return ids, scores


def _check(arrays: Mapping[str, NDArray[Any]], state: Mapping[str, Any], *, contents: bool) -> None:
    """Raise what `Model.load` takes for a wrong checkpoint, unless kernels can use its arrays as they are.

    contents  look at the ids in the tables too
    """
    spec = NetworkSpec.from_dict(state["model"])
    for name, shape in array_shapes(spec).items():
        found, dtype = arrays[name], np.dtype(array_dtype(spec, name))
        if (found.shape, found.dtype) != (shape, dtype):
            raise ValueError(f"{name} is {found.dtype}{list(found.shape)}, not {dtype}{list(shape)}")
    tables = {layer_name(int(number)): fields for number, fields in state.get("hidden_lsh", {}).items()}
    rows = {layer_name(i): width for i, width in enumerate(spec.hidden)}
    for layer, fields in tables.items():
        own = _of_layer(arrays, layer)
        check_arrays(
            own, HashSpec.from_state(fields), rows[layer], fields["bucket_policy"], contents=contents
        )
    if fields := state["lsh"]:
        spec_of = HashSpec.from_state(fields)
        check_arrays(arrays, spec_of, spec.n_labels, fields["bucket_policy"], contents=contents)


def _of_layer(arrays: Mapping[str, NDArray[Any]], layer: str) -> dict[str, NDArray[Any]]:
    """Return a layer's arrays by the names that the output's have; the generation is of all."""
    prefix = f"{layer}."
    own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return {**own, GENERATION: arrays[GENERATION]}


def _hidden_tables(arrays: Mapping[str, NDArray[Any]], state: Mapping[str, Any]) -> dict[int, TableView]:
    """Return the tables of hashed hidden layers by the layers' numbers."""
    found: dict[int, TableView] = {}
    for number, fields in state.items():
        found[int(number)] = TableView(_of_layer(arrays, layer_name(int(number))), fields)
    return found


def _chosen_rows(dataset: Dataset, rows: Rows | None) -> Rows:
    if rows is None:
        return np.arange(dataset.n_rows, dtype=np.int64)
    chosen = np.ascontiguousarray(rows, np.int64)
    if chosen.ndim != 1 or (len(chosen) and (chosen.min() < 0 or chosen.max() >= dataset.n_rows)):
        raise ShapeError(
            f"rows must be one list of numbers in [0, {dataset.n_rows}), the rows of {dataset.source}"
        )
    return chosen
