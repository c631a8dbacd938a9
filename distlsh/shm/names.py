"""Names of what a run leaves outside its own memory, and who they belong to.

A name carries the owner's pid and start time, so that a later start can tell the
leftovers of a dead run from what a live one uses, even when pids are reused.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from distlsh.errors import ResourceError, UsageError
from distlsh.folders import all_may_rename_in
from distlsh.shm.procstat import process_stat

SEGMENT_DIR = Path("/dev/shm")
_holding: dict[Path, int] = {}
"""Socket folders that this process made, and the descriptors whose locks say that it lives."""

_DEAD = ("Z", "X")
"""States of a process that has ended, and whose parent has not asked how."""

_NAME = re.compile(r"(distlsh-(\d{1,20})-(\d{1,20})-[0-9a-f]{8})(?:-tables-\d+(?:-[0-9a-f]{8})?)?", re.ASCII)


def new_run_id() -> str:
    """Return a name unique to this process and call."""
    pid = os.getpid()
    return f"distlsh-{pid}-{_start_ticks(pid)}-{secrets.token_hex(4)}"


def segment_of(run_id: str, number: int) -> str:
    """Return a new name for a run's further segment of tables; `segments_of` finds it.

    Nobody can foresee it: another user could take a name in /dev/shm before its run does.
    """
    return f"{run_id}-tables-{number}-{secrets.token_hex(4)}"


def segments_of(run_id: str) -> list[Path]:
    """Return the paths of all segments of a run that are there and are this user's."""
    found = [SEGMENT_DIR / run_id, *SEGMENT_DIR.glob(f"{run_id}-tables-*")]
    return [path for path in found if _owned(path)]


def segment_path(name: str) -> Path:
    """Return where the segment ``name`` lies; UsageError if it is no name that a run gives."""
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"{name!r} is no name of a segment: distlsh-<pid>-<ticks>-<hex>, as a run makes them"
        )
    return SEGMENT_DIR / name


def hold(descriptor: int) -> None:
    """Mark an open segment or folder as in use, for as long as this process maps or has it: nobody sweeps it.

    A pid may mean another process, or none, in another container that shares /dev/shm or /tmp.
    """
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def owner_alive(name: str) -> bool | None:
    """Tell whether the process that made ``name`` still runs; None if the name is not ours."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return maker_alive(name) or _held(SEGMENT_DIR / match[1]) or _held(socket_root() / match[1])


def maker_alive(name: str) -> bool:
    """Tell whether the process that made ``name`` is there and no zombie, or may be.

    UsageError if no run makes such names.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UsageError(f"{name!r} is no name that a run makes")
    pid, started = int(match[2]), int(match[3])
    found = process_stat(pid)
    if found is None:  # or it could not be looked at
        return _is_there(pid)
    return found.started == started and (found.state not in _DEAD or _has_threads(pid))


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:  # another user's, or one that is kept from this process
        return True
    except (OSError, OverflowError):
        return False
    return True


def _has_threads(pid: int) -> bool:
    """Tell whether threads of a process go on, whose main one has ended."""
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def _held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def socket_root() -> Path:
    """Return the folder that holds the socket folders of this user's runs."""
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())


def make_socket_dir(run_id: str) -> Path:
    """Create and return the run's socket folder, open to its owner alone (0700), whatever the umask.

    It is this process's until `remove`, or its end.  UsageError where other users could put a folder of
    theirs in its place.
    """
    root = socket_root()
    if all_may_rename_in(root):
        raise UsageError(
            f"{root}: all users may rename what is in this folder, sockets too; "
            f"set XDG_RUNTIME_DIR to a folder of your own, or: chmod +t {root}"
        )
    path = root / run_id
    try:
        path.mkdir(mode=0o700)
        path.chmod(0o700)
        _holding[path] = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        hold(_holding[path])
    except OSError as error:
        raise ResourceError(
            f"{path}: the folder of the run's sockets cannot be made ({error.strerror}); "
            "set XDG_RUNTIME_DIR to a folder that you can write"
        ) from error
    return path


def sweep() -> list[str]:
    """Remove segments and socket folders of runs that are no more; return their paths."""
    removed = left_by_dead_runs()
    for path in removed:
        remove(path)
    return [str(path) for path in removed]


def left_by_dead_runs() -> list[Path]:
    """Return this user's segments and socket folders whose run is no more."""
    return [
        path
        for folder in sorted({SEGMENT_DIR, socket_root(), Path(tempfile.gettempdir())})
        for path in sorted(folder.glob("distlsh-*"))
        if _owned(path) and owner_alive(path.name) is False
    ]


def remove(path: Path) -> None:
    """Remove a segment or a socket folder, whether or not it is still there."""
    if (descriptor := _holding.pop(path, None)) is not None:
        os.close(descriptor)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):  # of another user, who put it there to be in the way
        path.unlink(missing_ok=True)


def _owned(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.geteuid()
    except FileNotFoundError:
        return False


def _start_ticks(pid: int) -> int:
    found = process_stat(pid)
    return -1 if found is None else found.started
