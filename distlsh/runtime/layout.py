"""Which arrays a run shares: the arena's content, and the base of the memory estimate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from numpy.typing import NDArray

from distlsh.config.schema import Config, HashingConfig, LshConfig
from distlsh.config.shares import computed_neurons
from distlsh.constants import CACHE_LINE_BYTES, PRETRAIN
from distlsh.errors import ConfigError
from distlsh.lsh.footprint import hasher_bytes
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tables import GENERATION, table_specs
from distlsh.model.conflicts import HOLDERS
from distlsh.model.counters import N_COUNTERS
from distlsh.model.spec import NetworkSpec, active_neurons, layer_name, parameter_specs
from distlsh.runtime.failpoints import failpoint_spec
from distlsh.runtime.visits import visits_spec
from distlsh.shm.generation import GENERATION_WIDTH
from distlsh.shm.memory import MemoryPlan, pretrain_scratch_bytes, worker_scratch_bytes
from distlsh.shm.spec import ArraySpec

SLOT_PLACES = CACHE_LINE_BYTES // 8
_LEAST_TABLES = 64 << 20
_BEFORE_OUTPUT = ("init", PRETRAIN)
"""Kinds of tasks that touch no output row: they begin while the rows' memory is still being reserved."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the data sets say about a run."""

    n_features: int
    n_labels: int
    n_train: int
    n_test: int
    max_labels: int  # of one training instance
    n_train_labels: int = 0  # of all of them
    n_train_values: int = 0  # features that are not 0, of all of them


@dataclass(frozen=True, slots=True)
class TableSet:
    """The tables over one layer's rows.

    layer     number of the hidden layer, from 0; None: the output
    name      what the names of the layer's arrays begin with: "output", "input", "hidden.1", ...
    spec      how rows and queries are hashed
    n_rows    neurons
    settings  bucket size and policy, center
    bias      a row is hashed with the neuron's bias behind its weights, a query with a 1
    scale     of weights . query, to which the bias is added
    """

    layer: int | None
    name: str
    spec: HashSpec
    n_rows: int
    settings: HashingConfig
    bias: bool = False
    scale: float = 1.0

    def arrays(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return this set's arrays by the names of `table_specs`; the generation is of all sets."""
        found = {name.removeprefix(self._prefix): a for name, a in arrays.items() if self._owns(name)}
        return {**found, GENERATION: arrays[GENERATION]}

    def array_specs(self) -> list[ArraySpec]:
        """Return the specs of this set's arrays, the generation left out."""
        settings = self.settings
        # Hidden layers choose by count alone, and keep no sketches.
        sketch = isinstance(settings, LshConfig) and settings.sampling == "score"
        specs = table_specs(
            self.spec, self.n_rows, settings.bucket_size, policy=settings.bucket_policy, sketch=sketch
        )
        return [
            replace(spec, name=self._prefix + spec.name, lower=self._lower(spec.lower))
            for spec in specs
            if spec.name != GENERATION
        ]

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint says of the set, as JSON values."""
        fields: dict[str, Any] = msgspec.to_builtins(self.spec)
        settings = self.settings
        return {**fields, "bucket_size": settings.bucket_size, "bucket_policy": settings.bucket_policy}

    @property
    def _prefix(self) -> str:
        return "" if self.layer is None else f"{self.name}."

    def _owns(self, name: str) -> bool:
        return name.startswith(f"{self._prefix}tables.")

    def _lower(self, lower: str) -> str:
        return lower if self.layer is None else lower.replace("lsh.", "lsh.hidden.")


def uses_tables(config: Config, n_labels: int) -> bool:
    """Tell whether the output is chosen by LSH: a budget below the number of labels."""
    return config.lsh.n_active < n_labels


def hash_spec(config: Config) -> HashSpec:
    """Return how hidden vectors and output rows are hashed."""
    width = config.model.hidden[-1] + int(hashes_bias(config))
    return HashSpec.from_config(config.lsh, width, config.train.seed)


def hashes_bias(config: Config) -> bool:
    """Tell whether the output's rows are hashed with their bias behind."""
    # Without a transform hashes see angles, of which a bias is no part.
    return config.model.bias and config.lsh.transform != "none"


def tunes(config: Config, n_labels: int) -> bool:
    """Tell whether the run chooses the output's hash functions."""
    return config.lsh.auto is not None and uses_tables(config, n_labels)


def tuning_bytes(config: Config, n_labels: int) -> int:
    """Return the most bytes that tables may take whose hash functions the run chooses."""
    given = config.lsh.auto.max_bytes if config.lsh.auto is not None else None
    return given or max(_LEAST_TABLES, 2 * 4 * n_labels * config.model.hidden[-1])


def output_tables(config: Config, n_labels: int) -> TableSet | None:
    """Return the tables of the output layer; None where it is dense, or nothing is chosen yet."""
    if not uses_tables(config, n_labels) or tunes(config, n_labels):
        return None
    model = config.model
    return TableSet(
        layer=None,
        name="output",
        spec=hash_spec(config),
        n_rows=n_labels,
        settings=config.lsh,
        bias=hashes_bias(config),
        scale=model.scale if model.normalize else 1.0,
    )


def hidden_tables(config: Config, n_features: int) -> list[TableSet]:
    """Return the tables of the hashed hidden layers, in order; of those computed whole there are none."""
    model, settings = config.model, config.lsh.hidden
    if settings.choice != "tables":
        return []
    active, inputs = active_neurons(model), [n_features, *model.hidden]
    return [
        TableSet(
            layer=i,
            name=layer_name(i),
            spec=_hidden_spec(config, i, inputs[i] + 1),
            n_rows=model.hidden[i],
            settings=settings,
            bias=True,
        )
        for i, n in enumerate(active)
        if n and computed_neurons(settings, n, model.hidden[i]) < model.hidden[i]
    ]


def _hidden_spec(config: Config, i: int, n_dims: int) -> HashSpec:
    # A seed of its own: equal functions on different layers would be wrong together.
    seed = config.train.seed + 1 + i
    try:
        return HashSpec.from_config(config.lsh.hidden, n_dims, seed)
    except ConfigError as error:
        raise ConfigError(str(error).replace("lsh.", "lsh.hidden.")) from None


def has_tables(config: Config, n_features: int, n_labels: int) -> bool:
    """Tell whether any layer has tables, chosen or to be chosen: the run has a rehasher then."""
    return tunes(config, n_labels) or bool(all_tables(config, n_features, n_labels))


def all_tables(config: Config, n_features: int, n_labels: int) -> list[TableSet]:
    """Return the tables of every layer that has some."""
    output = output_tables(config, n_labels)
    return [*([output] if output else []), *hidden_tables(config, n_features)]


def comes_after_pretraining(name: str) -> bool:
    """Tell whether an array has no values yet while the first layer is pretrained."""
    return name.startswith(("output.", "tables."))


def touched_by(kind: str) -> Callable[[str], bool] | None:
    """Return what tells whether a task of this kind touches an array; None: it may touch any."""
    return _before_output if kind in _BEFORE_OUTPUT else None


def _before_output(name: str) -> bool:
    return not comes_after_pretraining(name)


def plan_arrays(config: Config, sizes: Sizes) -> list[ArraySpec]:
    """Return every shared array of a run, in the arena's order."""
    specs = parameter_specs(NetworkSpec.from_config(config, sizes.n_features, sizes.n_labels))
    sets = all_tables(config, sizes.n_features, sizes.n_labels)
    for one in sets:
        specs += one.array_specs()
    if has_tables(config, sizes.n_features, sizes.n_labels):
        specs.append(ArraySpec(GENERATION, (GENERATION_WIDTH,), "i8", persistent=True))
    workers = config.run.workers
    if config.run.conflicts and uses_tables(config, sizes.n_labels):
        specs.append(ArraySpec(HOLDERS, (sizes.n_labels,), "i4", lower="run.conflicts"))
    if config.run.visits:
        specs.append(visits_spec(sizes.n_train))
    return [
        failpoint_spec(workers),
        *specs,
        ArraySpec("runtime.order", (sizes.n_train,), "i8"),
        ArraySpec("runtime.slots", (workers, SLOT_PLACES), "i8"),
        ArraySpec("runtime.counters", (workers, N_COUNTERS), "f8"),
    ]


def memory_plan(config: Config, sizes: Sizes, data_bytes: int) -> MemoryPlan:
    """Return what a run on data of these sizes holds in memory, against what the machine has."""
    sets = all_tables(config, sizes.n_features, sizes.n_labels)
    scratch = worker_scratch_bytes(config, sizes.n_labels, sizes.max_labels, sizes.n_features)
    if config.pretrain.epochs:  # its scratch is given back before a training step's is made
        counts = (sizes.n_train, sizes.n_features, sizes.n_labels, sizes.n_train_labels, sizes.n_train_values)
        scratch = max(scratch, pretrain_scratch_bytes(config, *counts))
    return MemoryPlan.build(
        plan_arrays(config, sizes),
        n_workers=config.run.workers,
        scratch_bytes=scratch,
        data_bytes=data_bytes,
        hasher_bytes=sum(hasher_bytes(one.spec) for one in sets),
        tables=has_tables(config, sizes.n_features, sizes.n_labels),
        tuned_bytes=tuning_bytes(config, sizes.n_labels) if tunes(config, sizes.n_labels) else 0,
    )
