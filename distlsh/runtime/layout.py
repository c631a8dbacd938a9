"""Which arrays a run shares: the arena's content, and the base of the memory estimate."""

from __future__ import annotations

from dataclasses import dataclass

from distlsh.config.schema import Config
from distlsh.constants import CACHE_LINE_BYTES
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tables import table_specs
from distlsh.model.spec import NetworkSpec, parameter_specs
from distlsh.shm.memory import MemoryPlan, worker_scratch_bytes
from distlsh.shm.spec import ArraySpec

COUNTERS = 16
SLOT_PLACES = CACHE_LINE_BYTES // 8


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the data sets say about a run."""

    n_features: int
    n_labels: int
    n_train: int
    n_test: int
    max_labels: int  # of one training instance


def uses_tables(config: Config, n_labels: int) -> bool:
    """Tell whether the output is chosen by LSH: a budget below the number of labels."""
    return config.lsh.n_active < n_labels


def hash_spec(config: Config) -> HashSpec:
    """Return how hidden vectors and output rows are hashed."""
    return HashSpec.from_config(config.lsh, config.model.hidden[-1], config.train.seed)


def plan_arrays(config: Config, sizes: Sizes) -> list[ArraySpec]:
    """Return every shared array of a run, in the arena's order."""
    specs = parameter_specs(NetworkSpec.from_config(config, sizes.n_features, sizes.n_labels))
    if uses_tables(config, sizes.n_labels):
        specs += table_specs(hash_spec(config), sizes.n_labels, config.lsh.bucket_size)
    workers = config.run.workers
    return [
        *specs,
        ArraySpec("runtime.order", (sizes.n_train,), "i8"),
        ArraySpec("runtime.slots", (workers, SLOT_PLACES), "i8"),
        ArraySpec("runtime.counters", (workers, COUNTERS), "f8"),
    ]


def memory_plan(config: Config, sizes: Sizes, data_bytes: int) -> MemoryPlan:
    """Return what a run on data of these sizes holds in memory, against what the machine has."""
    return MemoryPlan.build(
        plan_arrays(config, sizes),
        n_workers=config.run.workers,
        scratch_bytes=worker_scratch_bytes(config, sizes.n_labels, sizes.max_labels),
        data_bytes=data_bytes,
        tables=uses_tables(config, sizes.n_labels),
    )
