"""How much memory a run takes, and whether the machine has it."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import psutil

from distlsh.config.schema import Config
from distlsh.config.shares import computed_neurons, layer_shares
from distlsh.constants import (
    GLOBAL_FACTOR,
    LABEL_BLOCK,
    LSH_BLOCK,
    RECALL_K,
    ROW_BLOCK,
    SKETCH,
    SKETCH_BLOCK,
    SPARSE_BLOCK,
    TOP_K,
    TUNED_PROBES,
    TUNED_TABLES,
)
from distlsh.errors import ResourceError
from distlsh.shm.cgroup import tightest
from distlsh.shm.names import SEGMENT_DIR
from distlsh.shm.spec import ArraySpec

COORDINATOR_BYTES = 64 << 20
"""Private memory of the coordinator: interpreter, libraries, compiled kernels."""

CHILD_BYTES = 16 << 20
"""Private memory of a worker or the rehasher: what it does not share with the fork server."""

_MOVES, _COLUMNS = 1 << 17, 32
"""Rows that the rehasher moves at a time, and columns of their codes that it keeps."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is, in bytes: RAM that could be used, and room in /dev/shm."""

    ram_bytes: int
    ram_free_bytes: int
    shm_bytes: int
    shm_free_bytes: int

    @classmethod
    def measure(cls) -> Machine:
        """Ask the operating system, and the control group where one sets a limit."""
        memory = psutil.virtual_memory()
        total, free = int(memory.total), int(memory.available)
        group = tightest("memory")
        if group is not None and group.most < total:
            total, free = group.most, min(free, group.left)
        disk = shutil.disk_usage(SEGMENT_DIR) if SEGMENT_DIR.is_dir() else None
        return cls(total, free, disk.total if disk else 0, disk.free if disk else 0)


@dataclass(frozen=True, slots=True)
class MemoryItem:
    """One thing that takes memory.

    shared   in the arena, in /dev/shm
    mapped   a file of parsed data: in RAM as long as there is room
    private  of one process
    """

    name: str
    detail: str
    n_bytes: int
    kind: Literal["shared", "mapped", "private"]
    lower: str = ""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Everything a run will hold in memory, against what the machine has."""

    items: tuple[MemoryItem, ...]
    machine: Machine

    @classmethod
    def build(
        cls,
        specs: Sequence[ArraySpec],
        *,
        n_workers: int,
        scratch_bytes: int = 0,
        data_bytes: int = 0,
        tables: bool = True,
        tuned_bytes: int = 0,
        hasher_bytes: int = 0,
        machine: Machine | None = None,
    ) -> MemoryPlan:
        """Add up the arena's arrays, the mapped data and the private memory of each process.

        scratch_bytes  of a worker, for a batch and for choosing active sets
        data_bytes     of all parsed data sets
        tables         whether there is a rehasher
        tuned_bytes    at most, of tables whose hash functions the run chooses
        hasher_bytes   of the hash functions of all tables, which each worker and the rehasher hold
        machine        None: this one
        """
        items = [
            MemoryItem(spec.name, f"{spec.dtype}{list(spec.shape)}", spec.padded_bytes, "shared", spec.lower)
            for spec in specs
        ]
        for detail in ("at most, once chosen", "at most, while others are chosen") if tuned_bytes else ():
            items.append(MemoryItem("tables", detail, tuned_bytes, "shared", "lsh.auto.max_bytes"))
        if data_bytes:
            items.append(MemoryItem("data", "parsed, mapped from its store", data_bytes, "mapped"))
        items.append(MemoryItem("coordinator", "", COORDINATOR_BYTES, "private"))
        workers = n_workers * (CHILD_BYTES + scratch_bytes + hasher_bytes)
        items.append(MemoryItem("workers", f"{n_workers} processes", workers, "private", "run.workers"))
        if tables:
            private = CHILD_BYTES + _rehasher_scratch_bytes(specs) + hasher_bytes
            items.append(MemoryItem("rehasher", "1 process", private, "private"))
        return cls(tuple(items), machine or Machine.measure())

    def bytes_of(self, *kinds: str) -> int:
        """Return the sum over all items of these kinds; of all items if none is named."""
        return sum(item.n_bytes for item in self.items if not kinds or item.kind in kinds)

    @property
    def total_bytes(self) -> int:
        """Return shared, mapped and private memory together: `peak_memory_bytes` of a summary."""
        return self.bytes_of()

    def problems(self) -> list[str]:
        """Return a line for each thing that does not fit, with what to do about it."""
        shared, machine = self.bytes_of("shared"), self.machine
        resident = self.bytes_of("shared", "private")
        found = []
        if shared > machine.shm_free_bytes:
            found.append(
                f"/dev/shm has {human(machine.shm_free_bytes)} free of {human(machine.shm_bytes)}, "
                f"the shared arrays need {human(shared)}: {self._advice('shared')}, or enlarge it: "
                f"sudo mount -o remount,size={-(-shared * 11 // 10 >> 30) + 1}G /dev/shm"
            )
        if resident > machine.ram_free_bytes:
            found.append(
                f"{human(machine.ram_free_bytes)} of RAM are free of {human(machine.ram_bytes)}, "
                f"the run needs {human(resident)} (shared {human(shared)}): "
                f"{self._advice('shared', 'private')}"
            )
        return found

    def check(self) -> None:
        """Raise ResourceError, naming the setting to lower, if the run cannot fit."""
        problems = self.problems()
        if problems:
            raise ResourceError("\n".join(problems))

    def _advice(self, *kinds: str) -> str:
        by_setting: defaultdict[str, int] = defaultdict(int)
        for item in self.items:
            if item.lower and item.kind in kinds:
                by_setting[item.lower.split(" (")[0]] += item.n_bytes
        setting = max(by_setting, key=lambda name: by_setting[name])
        return f"lower {setting}, which takes {human(by_setting[setting])}"


def _rehasher_scratch_bytes(specs: Sequence[ArraySpec]) -> int:
    """`lsh.maintain`: marks of the buckets written, in two buffers; codes of the rows moved at a time."""
    marks = sum(spec.n_bytes // 4 for spec in specs if spec.name.endswith("tables.sizes"))
    moves = [4 * min(spec.shape[0], _MOVES) for spec in specs if spec.name.endswith("tables.codes")]
    tables = [spec.shape[1] for spec in specs if spec.name.endswith("tables.codes")]
    return marks + max((n * (3 * t + _COLUMNS) for n, t in zip(moves, tables, strict=True)), default=0)


def human(n_bytes: float) -> str:
    """Write a number of bytes for people: ``1.8 GiB``."""
    size = float(n_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def worker_scratch_bytes(config: Config, n_labels: int, max_labels: int, n_features: int) -> int:
    """Return the private arrays of a worker, but for what is small whatever the configuration.

    n_labels    of the network
    max_labels  of one instance
    n_features  of the network
    """
    sparse = config.lsh.n_active < n_labels
    lists = _active_bytes(config, n_labels, max_labels) if sparse else 20 * n_labels
    if not sparse and layer_shares(config.model)[-1] < 1:
        lists += (4 * config.train.batch_size + 1) * n_labels  # a list a sample, over sparse activations
    return _layer_bytes(config, n_features) + lists + _evaluation_bytes(config, n_labels, sparse)


def pretrain_scratch_bytes(
    config: Config, n_train: int, n_features: int, n_labels: int, n_pairs: int, n_values: int
) -> int:
    """Return the private arrays of a worker in pretraining (`model.pretrain.PretrainStep`).

    n_train   instances, of n_features features and n_labels labels
    n_pairs   labels of all instances together
    n_values  features that are not 0, of all instances together
    """
    batch, width = config.pretrain.batch_size, config.model.hidden[-1]
    members = batch * (1 + config.pretrain.partners)
    entries = int(1.25 * members * n_values / max(1, n_train))  # with room to grow
    distinct = min(entries, n_features)
    by_label = 12 * n_labels + 4 * n_pairs
    features = 16 * entries + 12 * distinct + 4 * n_features
    pooled = min(config.pretrain.pool, n_train)
    projecting = 4 * width * (min(SKETCH_BLOCK, pooled) + SKETCH)
    alike = 4 * SKETCH * pooled + max(projecting, (4 * SKETCH + 64) * pooled) if pooled >= 2 * batch else 0
    matrices = 4 * batch * (batch + 4 * width)
    return matrices + 128 * batch + 32 * members + features + by_label + alike


def _layer_bytes(config: Config, n_features: int) -> int:
    """`model.layers`: activations, gradients and masks of a batch, gradients of dense layers."""
    hidden, shares = config.model.hidden, layer_shares(config.model)
    dense = [width for width, share in zip(hidden, shares, strict=True) if share == 1]
    per_sample = (3 if config.model.dropout > 0 else 2) * sum(dense) + hidden[-1] * shares[-1]
    pairs = zip(pairwise(hidden), shares[1:], strict=True)
    gradients = sum(a * b for (a, b), share in pairs if share == 1)
    batch = config.train.batch_size
    return int(4 * (batch * per_sample + gradients + sum(dense))) + _hashed_bytes(config, shares, n_features)


def _hashed_bytes(config: Config, shares: list[float], n_features: int) -> int:
    """`model.layers`: activations as pairs, queries, codes and candidates, for training and inference."""
    lsh, hidden = config.lsh.hidden, config.model.hidden
    by_tables = lsh.choice == "tables"
    n_codes = lsh.n_tables * (1 + lsh.n_probes) if by_tables else 0
    inputs = zip([n_features, *hidden], [1.0, *shares], strict=False)
    per_sample = 0.0
    for i, ((n, before), share, width) in enumerate(zip(inputs, shares, hidden, strict=False)):
        if share < 1:
            # An instance's features are of unknown number: as many as the layer is wide, at a guess.
            as_pairs = 3 * (n if i else min(n, width)) if before == 1 else 0
            most = computed_neurons(lsh, round(share * width), width)
            choice = n + n_codes + most if by_tables and most < width else 0
            per_sample += as_pairs + choice + 3 * share * width
    return int(4 * per_sample * (config.train.batch_size + SPARSE_BLOCK))


def _active_bytes(config: Config, n_labels: int, max_labels: int) -> int:
    """`model.step.TrainStep` and `lsh.ActiveSampler`: active sets, codes, counts of hits."""
    lsh, batch = config.lsh, config.train.batch_size
    capacity = max(lsh.n_active, max_labels)
    n_codes, n_hits = _reads(config, n_labels)
    pool = 12 * min(lsh.pool, n_hits) if lsh.sampling == "score" else 0
    return 4 * batch * (capacity + n_codes) + 8 * capacity + 2 * n_labels + 4 * n_hits + pool


def _evaluation_bytes(config: Config, n_labels: int, sparse: bool) -> int:
    """`evaluation.evaluate_rows`: hidden vectors, then scores or candidates; label counts, propensities."""
    hashed = min(layer_shares(config.model)) < 1
    width = config.model.hidden[-1] if hashed else max(config.model.hidden)
    block = ROW_BLOCK * _score_bytes(n_labels, width)
    if sparse and config.eval.lsh:
        block = max(block, n_labels + 4 * LSH_BLOCK * sum(_reads(config, n_labels)))
    return 12 * n_labels + 4 * ROW_BLOCK * width + block


def _score_bytes(n_labels: int, width: int) -> int:
    """A query's share of `evaluation.topk.exact_topk`: 8-bit queries and rows, or scores by BLAS."""
    from distlsh.kernels.int8_tile import screens

    if screens(n_labels, width, max(TOP_K, RECALL_K)):
        return 3 * width + 190
    return 4 * width + 4 * min(n_labels, LABEL_BLOCK)


def _reads(config: Config, n_labels: int) -> tuple[int, int]:
    """Return the buckets that a query reads, and the most distinct ids that they can hold."""
    if config.lsh.auto is not None:
        return TUNED_TABLES * (1 + TUNED_PROBES), n_labels
    chosen_among = GLOBAL_FACTOR if config.lsh.probe_order == "global" else 1
    n_codes = config.lsh.n_tables * (1 + chosen_among * config.lsh.n_probes)
    return n_codes, min(n_labels, n_codes * config.lsh.bucket_size)
