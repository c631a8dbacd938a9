"""Names of the children."""

from __future__ import annotations

REHASHER = "rehasher"
FORK_SERVER = "forkserver"


def worker_role(index: int) -> str:
    """Return the role of worker ``index``."""
    return f"worker-{index}"


def child_roles(n_workers: int, *, rehasher: bool = True) -> list[str]:
    """Return the roles of a run's children; a run without hash tables has no rehasher."""
    return [*map(worker_role, range(n_workers)), *([REHASHER] if rehasher else [])]


def worker_index(role: str) -> int:
    """Return the index of the worker with this role."""
    return int(role.rpartition("-")[2])
