"""Names of what a run leaves outside its own memory, and who they belong to.

A name carries the owner's pid and start time, so that a later start can tell the
leftovers of a dead run from what a live one uses, even when pids are reused.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path

import psutil

SEGMENT_DIR = Path("/dev/shm")
_START_FIELD = 19  # "starttime", counted from the field after the command's name
_NAME = re.compile(r"^distlsh-(\d+)-(\d+)-[0-9a-f]{8}(?:-tables-\d+)?$")


def new_run_id() -> str:
    """Return a name unique to this process and call."""
    pid = os.getpid()
    return f"distlsh-{pid}-{_start_ticks(pid)}-{secrets.token_hex(4)}"


def segment_of(run_id: str, number: int) -> str:
    """Return the name of a run's further segment of tables; `segments_of` finds it."""
    return f"{run_id}-tables-{number}"


def segments_of(run_id: str) -> list[Path]:
    """Return the paths of all segments of a run that are there."""
    return [SEGMENT_DIR / run_id, *SEGMENT_DIR.glob(f"{run_id}-tables-*")]


def owner_alive(name: str) -> bool | None:
    """Tell whether the process that made ``name`` still runs; None if the name is not ours."""
    match = _NAME.match(name)
    if match is None:
        return None
    pid, started = int(match[1]), int(match[2])
    return psutil.pid_exists(pid) and _start_ticks(pid) == started


def socket_root() -> Path:
    """Return the folder that holds the socket folders of this user's runs."""
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())


def make_socket_dir(run_id: str) -> Path:
    """Create and return the run's socket folder, open to its owner alone (0700)."""
    path = socket_root() / run_id
    path.mkdir(mode=0o700)
    return path


def sweep() -> list[str]:
    """Remove segments and socket folders of runs that are no more; return their paths."""
    removed = []
    for folder in {SEGMENT_DIR, socket_root()}:
        for path in sorted(folder.glob("distlsh-*")):
            if owner_alive(path.name) is False and _owned(path):
                remove(path)
                removed.append(str(path))
    return removed


def remove(path: Path) -> None:
    """Remove a segment or a socket folder, whether or not it is still there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _owned(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.getuid()
    except FileNotFoundError:
        return False


def _start_ticks(pid: int) -> int:
    # In ticks since boot: unlike a time of day, it stays when the clock is set.
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1
    return int(stat.rpartition(")")[2].split()[_START_FIELD])
