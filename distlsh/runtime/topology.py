"""The cores that this process may use, as the kernel describes them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_SYSTEM = Path("/sys/devices/system")


@dataclass(frozen=True, slots=True, order=True)
class Cpu:
    """One logical processor.

    node  NUMA node whose memory is near
    core  physical core, a number of its own in the machine; SMT siblings share it
    id    number by which the kernel pins
    """

    node: int
    core: int
    id: int


def usable_cpus(root: Path = _SYSTEM, ids: set[int] | None = None) -> tuple[Cpu, ...]:
    """Return the processors that this process may run on: what affinity and cgroup allow.

    root  of the kernel's description; what it does not say is taken for one node, a core each
    ids   allowed processors; default: this process's affinity
    """
    allowed = os.sched_getaffinity(0) if ids is None else ids
    nodes = _nodes(root / "node")
    return tuple(sorted(Cpu(nodes.get(i, 0), _core(root, i), i) for i in allowed))


def numbers(text: str) -> set[int]:
    """Return the numbers of a kernel list such as ``0-3,8``; of anything else none."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _nodes(folder: Path) -> dict[int, int]:
    found = {}
    for path in folder.glob("node[0-9]*"):
        for cpu in numbers(_read(path / "cpulist")):
            found[cpu] = int(path.name.removeprefix("node"))
    return found


def _core(root: Path, cpu: int) -> int:
    # The lowest sibling names the core: core_id is a number within a package only.
    siblings = numbers(_read(root / "cpu" / f"cpu{cpu}" / "topology" / "thread_siblings_list"))
    return min(siblings, default=cpu)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
