"""Names of the children."""

from __future__ import annotations

REHASHER = "rehasher"
FORK_SERVER = "forkserver"


def worker_role(index: int) -> str:
    """Return the role of worker ``index``."""
    return f"worker-{index}"


def worker_index(role: str) -> int:
    """Return the index of the worker with this role."""
    return int(role.rpartition("-")[2])
