"""Have the kernel kill a process for memory: a control group with none left."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

_ROOTS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)
_LIMIT_BYTES = 1 << 16
_RETRY_S, _RETRIES = 0.05, 100


def can_kill_for_memory() -> bool:
    """Tell whether this user may make a control group with a limit on memory."""
    with contextlib.suppress(OSError), _group("probe"):
        return True
    return False


@contextlib.contextmanager
def no_memory_for(pid: int) -> Iterator[None]:
    """Give process ``pid`` no further page within the `with` block: the kernel kills it when it asks for one.

    Raises OSError where the control group cannot be made; ProcessLookupError if it is gone.
    """
    with _group(str(pid)) as group:
        home = _group_of(pid)
        (group / "cgroup.procs").write_text(str(pid))
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (home / "cgroup.procs").write_text(str(pid))


@contextlib.contextmanager
def _group(name: str) -> Iterator[Path]:
    root, limit = _controller()
    path = root / f"distlsh-chaos-{os.getpid()}-{name}"
    path.mkdir()
    try:
        (path / limit).write_text(str(_LIMIT_BYTES))
        yield path
    finally:
        _remove(path)


def _controller() -> tuple[Path, str]:
    for root, limit in _ROOTS:
        with contextlib.suppress(OSError):
            if limit in os.listdir(root) or "memory" in (root / "cgroup.subtree_control").read_text().split():
                return root, limit
    raise FileNotFoundError("no control group for memory")


def _group_of(pid: int) -> Path:
    root, _ = _controller()
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(",") or (not controllers and root == _ROOTS[1][0]):
            return root / path.lstrip("/")
    return root


def _remove(path: Path) -> None:
    for _ in range(_RETRIES):  # a process that was killed may hold it a moment longer
        with contextlib.suppress(OSError):
            path.rmdir()
            return
        time.sleep(_RETRY_S)
