"""How much memory a run takes, and whether the machine has it."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from distlsh.config.schema import Config
from distlsh.errors import ResourceError
from distlsh.shm.spec import ArraySpec

SHM_FOLDER = Path("/dev/shm")

COORDINATOR_BYTES = 64 << 20
"""Private memory of the coordinator: interpreter, libraries, compiled kernels."""

CHILD_BYTES = 16 << 20
"""Private memory of a worker or the rehasher: what it does not share with the fork server."""

_EVAL_BLOCK, _EVAL_LABELS = 256, 8192
"""Rows and labels of a block of exact inference."""

_CGROUP = Path("/sys/fs/cgroup")


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
        limit = _cgroup_bytes("memory.max")
        if limit is not None and limit < total:
            total, free = limit, min(free, limit - (_cgroup_bytes("memory.current") or 0))
        disk = shutil.disk_usage(SHM_FOLDER) if SHM_FOLDER.is_dir() else None
        return cls(total, free, disk.total if disk else 0, disk.free if disk else 0)


def _cgroup_bytes(name: str) -> int | None:
    try:
        text = (_CGROUP / name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


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
        machine: Machine | None = None,
    ) -> MemoryPlan:
        """Add up the arena's arrays, the mapped data and the private memory of each process.

        scratch_bytes  of a worker, for a batch and for choosing active sets
        data_bytes     of all parsed data sets
        tables         whether there is a rehasher
        machine        None: this one
        """
        items = [
            MemoryItem(spec.name, f"{spec.dtype}{list(spec.shape)}", spec.padded_bytes, "shared", spec.lower)
            for spec in specs
        ]
        if data_bytes:
            items.append(MemoryItem("data", "parsed, mapped from its store", data_bytes, "mapped"))
        items.append(MemoryItem("coordinator", "", COORDINATOR_BYTES, "private"))
        workers = n_workers * (CHILD_BYTES + scratch_bytes)
        items.append(MemoryItem("workers", f"{n_workers} processes", workers, "private", "run.workers"))
        if tables:
            items.append(MemoryItem("rehasher", "1 process", CHILD_BYTES, "private"))
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


def human(n_bytes: float) -> str:
    """Write a number of bytes for people: ``1.8 GiB``."""
    size = float(n_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def worker_scratch_bytes(config: Config, n_labels: int, max_labels: int) -> int:
    """Return the private arrays of a worker: of its batch, its active sets and its evaluations."""
    batch, width = config.train.batch_size, max(config.model.hidden)
    capacity = min(n_labels, max(config.lsh.n_active, max_labels))
    active_sets = n_labels * 2 + batch * capacity * 8
    layers = batch * sum(config.model.hidden) * 4 * 4
    evaluation = n_labels * 4 + _EVAL_BLOCK * (width + _EVAL_LABELS) * 4
    return active_sets + layers + evaluation
