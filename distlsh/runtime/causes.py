"""Why a child died, as far as the system and its log can tell."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from distlsh.constants import NO_MEMORY_CODE
from distlsh.protocol.supervision import CRASHES

_TAIL_BYTES = 64 << 10
_TAIL_LINES = 30
_PLACE = re.compile(
    r'Fatal Python error.*?\nCurrent thread [^\n]*\n +File "([^"\n]+)", line (\d+) in (\S+)', re.S
)
_LOWER = "lower run.workers, or what `distlsh-launch --dry-run` shows to be large"


class Causes:
    """Looks at the kernel's count of memory kills and at the children's logs."""

    def __init__(self, logs: Path) -> None:
        """Take the folder of the logs, ``<role>.log``."""
        self._logs = logs
        self._begins: dict[str, int] = {}
        self._kills = memory_kills()

    def begins(self, role: str) -> None:
        """Remember where the log of a child that is now started begins."""
        self._begins[role] = self._size(role)

    def note(self, role: str, code: int | None) -> str:
        """Return what is known of an end with this exit code, beside the code; empty if nothing."""
        if code == NO_MEMORY_CODE:
            return _LOWER
        if code == -signal.SIGKILL:
            return self._memory()
        if code is not None and -code in CRASHES and (place := self._place(role)):
            return place
        return ""

    def log(self, role: str) -> str:
        """Return the last lines that the child wrote; a remark if it wrote none."""
        lines = self._written(role).splitlines()[-_TAIL_LINES:]
        return "\n".join(lines) or f"nothing: {self._path(role)} is empty since its start"

    def _memory(self) -> str:
        before, self._kills = self._kills, memory_kills()
        if before is None or self._kills is None:
            return f"perhaps the system ran out of memory: then {_LOWER}"
        return f"the system ran out of memory meanwhile: {_LOWER}" if self._kills > before else ""

    def _place(self, role: str) -> str:
        found = _PLACE.search(self._written(role))
        return f"it was in {found[3]}, {found[1]}, line {found[2]}" if found else ""

    def _written(self, role: str) -> str:
        try:
            with self._path(role).open("rb") as file:
                size = self._size(role)
                begin = self._begins.get(role, 0)
                begin = begin if begin <= size else 0  # another file has taken its place
                file.seek(max(begin, size - _TAIL_BYTES))
                return file.read(_TAIL_BYTES).decode(errors="replace")
        except OSError:
            return ""

    def _size(self, role: str) -> int:
        try:
            return self._path(role).stat().st_size
        except OSError:
            return 0

    def _path(self, role: str) -> Path:
        return self._logs / f"{role}.log"


def memory_kills() -> int | None:
    """Return how many processes the kernel has ended for want of memory; None if it does not tell.

    In this process's control group where it has one, else in the whole system.
    """
    for path in (*_group_files(), Path("/proc/vmstat")):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None


def _group_files() -> list[Path]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:  # the second version's line
            found.append(Path(f"/sys/fs/cgroup{group}/memory.events"))
        elif "memory" in controllers.split(","):
            found.append(Path(f"/sys/fs/cgroup/memory{group}/memory.oom_control"))
    return found
