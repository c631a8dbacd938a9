"""The estimate of a run's memory, and the refusal of what cannot fit."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from distlsh.config.load import parse_config
from distlsh.constants import ROW_BLOCK, SPARSE_BLOCK
from distlsh.data.dataset import Dataset
from distlsh.errors import ResourceError
from distlsh.evaluation.evaluate import evaluate_rows
from distlsh.lsh import Hasher, HashSpec, Tables, build, table_specs
from distlsh.lsh.reader import TableReader
from distlsh.model.pretrain import PretrainStep
from distlsh.model.selector import LshSelector
from distlsh.model.spec import NetworkSpec
from distlsh.model.step import TrainStep
from distlsh.shm.memory import (
    CHILD_BYTES,
    COORDINATOR_BYTES,
    Machine,
    MemoryPlan,
    human,
    pretrain_scratch_bytes,
    worker_scratch_bytes,
)
from distlsh.shm.spec import ArraySpec
from tests.model.small import make_network

GIB = 1 << 30
BIG = Machine(ram_bytes=64 * GIB, ram_free_bytes=60 * GIB, shm_bytes=32 * GIB, shm_free_bytes=32 * GIB)
SPECS = [
    ArraySpec("output.weights", (1000, 256), "f4", True, "model.hidden"),
    ArraySpec("output.weights.state1", (1000, 256), "f4", True, "model.hidden (or train.optimizer)"),
    ArraySpec("tables.ids", (2, 40, 64), "i4", True, "lsh.n_tables"),
    ArraySpec("odd", (3,), "u1"),
]


def plan(machine=BIG, **options):
    return MemoryPlan.build(SPECS, n_workers=2, machine=machine, **options)


def test_sums_by_kind():
    """Shared arrays count once, padded to cache lines; private memory counts for each process."""
    found = plan(scratch_bytes=1000, data_bytes=5000, hasher_bytes=300)
    assert found.bytes_of("shared") == 2 * 1000 * 256 * 4 + 2 * 40 * 64 * 4 + 64
    assert found.bytes_of("mapped") == 5000
    assert found.bytes_of("private") == COORDINATOR_BYTES + 2 * (CHILD_BYTES + 1300) + CHILD_BYTES + 300
    assert found.total_bytes == found.bytes_of("shared", "mapped", "private")


def test_a_dense_run_has_no_rehasher():
    """Without tables there is one process less."""
    assert plan().total_bytes - plan(tables=False).total_bytes == CHILD_BYTES


def test_what_fits_is_not_refused():
    """A machine with room raises nothing."""
    assert plan().problems() == []
    plan().check()


def test_small_shm_names_the_setting_to_lower():
    """The setting that takes most is named, and how to enlarge /dev/shm."""
    machine = Machine(ram_bytes=64 * GIB, ram_free_bytes=60 * GIB, shm_bytes=2 << 20, shm_free_bytes=1 << 20)
    with pytest.raises(ResourceError) as caught:
        plan(machine).check()
    assert str(caught.value) == (
        "/dev/shm has 1.0 MiB free of 2.0 MiB, the shared arrays need 2.0 MiB: lower model.hidden, "
        "which takes 2.0 MiB, or enlarge it: sudo mount -o remount,size=2G /dev/shm"
    )
    assert caught.value.exit_code == 2


def test_small_ram_is_refused_too():
    """Shared and private memory together must fit in what is free."""
    machine = Machine(ram_bytes=128 << 20, ram_free_bytes=100 << 20, shm_bytes=GIB, shm_free_bytes=GIB)
    (problem,) = plan(machine).problems()
    assert problem.startswith("100.0 MiB of RAM are free of 128.0 MiB, the run needs ")


def test_mapped_data_may_be_larger_than_ram():
    """Pages of the data's store can be dropped and read again: they do not have to fit."""
    assert plan(data_bytes=1000 * GIB).problems() == []


def test_this_machine_can_be_measured():
    """There is some memory here."""
    machine = Machine.measure()
    assert 0 < machine.ram_free_bytes <= machine.ram_bytes


class Machinery:
    """A network, data and tables, of which a worker has its own views and scratch."""

    def __init__(self, config, n_labels):
        random = np.random.default_rng(1)
        self.config = config
        features = random.random((ROW_BLOCK, 20), dtype=np.float32)
        labels = random.integers(0, n_labels, ROW_BLOCK)
        self.data = Dataset.from_csr(features, labels, n_labels=n_labels)
        self.network = make_network(NetworkSpec.from_config(config, 20, n_labels), seed=1)
        self.hash = HashSpec.from_config(config.lsh, config.model.hidden[-1], 1)
        score = config.lsh.sampling == "score"
        specs = table_specs(self.hash, n_labels, config.lsh.bucket_size, sketch=score)
        self.arrays = {item.name: np.zeros(item.shape, item.dtype) for item in specs}
        build(Tables(self.arrays, 0), Hasher(self.hash), self.network.output.weights)

    def make_step(self):
        """Return a worker's training step and its reader of the tables."""
        lsh, train, n_labels = self.config.lsh, self.config.train, self.data.n_labels
        reader, selector = TableReader(self.arrays, np.full((1, 8), -1), 0, self.hash), None
        if lsh.n_active < n_labels:
            sizes = {"n_labels": n_labels, "n_active": lsh.n_active, "n_random": 0}
            how = {"sampling": lsh.sampling, "pool": lsh.pool}
            selector = LshSelector(reader, self.data, batch=train.batch_size, **sizes, **how)
        return TrainStep(self.network, self.data, train, n_active=lsh.n_active, selector=selector), reader

    def train_and_evaluate(self):
        """Do what a worker does, with what a worker keeps."""
        counts = self.data.label_counts()  # kept, as a worker does
        inverse = counts.astype(np.float32)
        step, reader = self.make_step()
        step.run(np.arange(self.config.train.batch_size), 0, 0.01, 0.01)
        sparse = self.config.lsh.n_active < self.data.n_labels
        tables = Tables(self.arrays, 0) if self.config.eval.lsh and sparse else None
        evaluate_rows(self.network, reader.hasher, tables, self.data, np.arange(ROW_BLOCK), inverse)


@pytest.mark.parametrize(
    "settings",
    [
        "model: {hidden: [256]}, lsh: {n_hashes: 1}",
        "model: {hidden: [64, 512], dropout: 0.1}, train: {batch_size: 512}, eval: {lsh: false}",
        "model: {hidden: [128]}, lsh: {n_active: 30_000}",
        "model: {hidden: [128]}, lsh: {sampling: score, n_tables: 8}, eval: {lsh: false}",
        "model: {hidden: [512, 256], active_share: 0.1}, lsh: {n_active: 30_000, hidden: {choice: exact}}",
        "model: {hidden: [32]}, lsh: {n_tables: 8, n_probes: 0, dim: 32}, train: {batch_size: 1024}",
    ],
)
def test_scratch_is_what_a_worker_allocates(settings):
    """The estimate is within a tenth of the peak that NumPy's allocations reach.

    LSH inference counts with the most that buckets can hold; it is off where they hold far less here.
    """
    config = parse_config(f"{{data: {{train: x}}, {settings}}}")
    machinery = Machinery(config, n_labels=20_000)
    machinery.train_and_evaluate()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        machinery.train_and_evaluate()
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert worker_scratch_bytes(config, 20_000, 1, 20) == pytest.approx(peak, rel=0.1)


def test_a_step_allocates_nothing():
    """After the first, a batch of training takes no array of its own, however many outputs are active."""
    config = parse_config("{data: {train: x}, model: {hidden: [64]}, lsh: {n_active: 2000}}")
    step, _ = Machinery(config, n_labels=20_000).make_step()
    m = config.train.batch_size
    step.run(np.arange(m), 0, 0.01, 0.01)
    tracemalloc.start()
    try:
        step.run(np.arange(m), m, 0.01, 0.01)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2000, "less than one sample's active outputs: only views and numbers"


@pytest.mark.parametrize("pool", [0, 1024])
def test_scratch_of_the_pretraining_is_what_it_allocates(pool):
    """The estimate is within a tenth of the peak that NumPy's allocations reach."""
    settings = (
        f"model: {{hidden: [128]}}, pretrain: {{epochs: 1, batch_size: 128, partners: 3, pool: {pool}}}"
    )
    config = parse_config(f"{{data: {{train: x}}, {settings}}}")
    machinery = Machinery(config, n_labels=100)
    data = machinery.data
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        step = PretrainStep(machinery.network, data, config.pretrain, config.train)
        for first in (0, 1024):
            step.run(np.arange(1024), first, 0.01)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    counts = (data.n_rows, data.n_features, 100, len(data.labels), len(data.values))
    assert pretrain_scratch_bytes(config, *counts) == pytest.approx(peak, rel=0.1)


def test_whole_instances_that_ask_the_first_layers_tables_count():
    """A hashed first layer asks with whole vectors: those of a batch, and of a block in evaluation."""
    config = parse_config("{data: {train: x}, model: {hidden: [64], active_share: 0.1}}")
    few, many = (worker_scratch_bytes(config, 20_000, 1, n) for n in (1000, 101_000))
    assert many - few == 4 * 100_000 * (config.train.batch_size + SPARSE_BLOCK)


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1 << 20, "1.0 MiB"), (3 << 40, "3.0 TiB"), (1536, "1.5 KiB")],
)
def test_bytes_for_people(n, text):
    """Sizes are told in the unit that fits."""
    assert human(n) == text
