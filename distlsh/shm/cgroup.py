"""Limits of this process's control groups: a container, a service or a job may have less than the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/sys/fs/cgroup")
GROUPS = Path("/proc/self/cgroup")

_FILES = {"memory": ("memory.limit_in_bytes", "memory.usage_in_bytes"), "pids": ("pids.max", "pids.current")}
"""Of version 1; those of version 2 are named ``<controller>.max`` and ``<controller>.current``."""

_LARGEST = 1 << 62  # version 1 says "no limit" by a number near 2 ** 63


class Limit(NamedTuple):
    """What a group may have, and what it has."""

    most: int
    used: int

    @property
    def left(self) -> int:
        """What is left; not below 0."""
        return max(0, self.most - self.used)


def tightest(controller: str) -> Limit | None:
    """Return the limit of ``controller`` ("memory", bytes, or "pids", tasks) that leaves least; None: none.

    Looks at this process's group and all above it, of either version of control groups.  Memory that
    holds clean pages of files does not count as used: it is given back when it is asked for.
    """
    found = [limit for folder in _folders(controller) if (limit := _limit(folder, controller)) is not None]
    return min(found, key=lambda limit: limit.left, default=None)


def _folders(controller: str) -> Iterator[Path]:
    """Yield the folders that may limit this process; inside a container paths from outside do not exist."""
    for line in _text(GROUPS).splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        for root in [ROOT / names] if names else [ROOT, ROOT / "unified"]:
            below = Path(path.lstrip("/"))
            yield from (root / part for part in (below, *below.parents))


def _limit(folder: Path, controller: str) -> Limit | None:
    for most, used in ((f"{controller}.max", f"{controller}.current"), _FILES[controller]):
        number = _number(folder / most)
        if number is not None and number < _LARGEST:
            return Limit(number, (_number(folder / used) or 0) - _clean(folder, controller))
    return None


def _clean(folder: Path, controller: str) -> int:
    if controller != "memory":
        return 0
    fields = dict(
        line.split(maxsplit=1) for line in _text(folder / "memory.stat").splitlines() if " " in line
    )
    text = fields.get("total_inactive_file", fields.get("inactive_file", "0"))
    return int(text) if text.isdigit() else 0


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
