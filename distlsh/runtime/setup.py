"""What a child is told when it starts."""

from __future__ import annotations

import msgspec

from distlsh.config.schema import Config
from distlsh.runtime.doors import Way
from distlsh.shm.spec import ArraySpec


class ChildSetup(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a worker or the rehasher needs to find its work."""

    role: str  # "worker-0", "worker-1", ... or "rehasher"
    index: int
    coordinator_pid: int
    config: Config
    arena: str
    specs: list[tuple[str, tuple[int, ...], str, bool, str]]
    socket_dir: str
    way: Way
    train_store: str
    test_store: str | None
    n_labels: int
    n_features: int
    init_parts: int
    total_samples: int
    log: str
    cpus: list[int]  # processors to run on; empty: any

    def array_specs(self) -> list[ArraySpec]:
        """Return the specs of the arena's arrays."""
        return [ArraySpec(*spec) for spec in self.specs]


def pack_specs(specs: list[ArraySpec]) -> list[tuple[str, tuple[int, ...], str, bool, str]]:
    """Return ``specs`` as plain tuples."""
    return [(s.name, s.shape, s.dtype, s.persistent, s.lower) for s in specs]
