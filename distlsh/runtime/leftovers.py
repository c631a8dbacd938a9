"""What runs and commands that were killed left behind: found, told, and removed, never what lives.

A process that is alive holds a lock on what it writes, or its pid is part of the name.  Where neither
tells, what was changed a moment ago is let be: another host may be writing it.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from distlsh.data.cache import FOLDER, user_cache_dir
from distlsh.errors import LockError, UsageError
from distlsh.folders import is_locked, locked
from distlsh.model.checkpoint import TEMPORARY, lock_of
from distlsh.runtime.run_dir import RunDir
from distlsh.shm.names import SEGMENT_DIR, left_by_dead_runs, owner_alive

_QUIET_S = 600.0
# As `temporary_beside` makes them, and no other: people's own hidden files end in numbers too.
_TEMPORARY_FILE = re.compile(r"\.(.+)\.(\d+)-[0-9a-f]{8}\.(?:tmp|old)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file or folder that nobody will use again."""

    path: Path
    why: str
    n_bytes: int
    locks: tuple[Path, ...] = ()  # which a living owner would hold

    def remove(self) -> bool:
        """Remove it; False where its owner came to life meanwhile, or it cannot be removed."""
        if owner_alive(self.path.name):
            return False
        with ExitStack() as stack:
            try:
                if not all(stack.enter_context(locked(lock)) for lock in self.locks if lock.exists()):
                    return False
            except LockError:
                return False
            if self.path.is_dir() and not self.path.is_symlink():
                shutil.rmtree(self.path, ignore_errors=True)
            else:
                with suppress(OSError):
                    self.path.unlink()
        return not os.path.lexists(self.path)


def find_leftovers(folders: Sequence[Path] = ()) -> Iterator[Leftover]:
    """Yield what is left in shared memory, among the sockets, in the user's cache, and in ``folders``.

    folders  run directories, folders of them, or folders with data

    UsageError if one of them is no folder.
    """
    for path in left_by_dead_runs():
        memory = path.parent == SEGMENT_DIR
        yield _leftover(path, f"{'shared memory' if memory else 'sockets'} of a run that is no more")
    found: dict[Path, Leftover] = {}
    for folder in (user_cache_dir(), *folders):
        found |= {left.path: left for left in _in_folder(folder.absolute(), given=folder in folders)}
    yield from found.values()


def _in_folder(folder: Path, *, given: bool) -> Iterator[Leftover]:
    if not folder.is_dir():
        if given:
            raise UsageError(f"{folder}: no such folder; give a run directory, or a folder with data")
        return
    if (folder / "config.yaml").is_file():
        yield from _in_run(RunDir(folder))
        return
    for one in sorted(folder.iterdir()):
        if given and not one.is_symlink() and (one / "config.yaml").is_file():
            yield from _in_run(RunDir(one))
    yield from _temporaries(folder)
    yield from _temporaries(folder / FOLDER)
    if given:
        yield from _downloads(folder)


def _in_run(run_dir: RunDir) -> Iterator[Leftover]:
    own, saving = run_dir.path / ".lock", lock_of(run_dir.checkpoints)
    if is_locked(own) or is_locked(saving):
        return
    for path in sorted(run_dir.checkpoints.glob(f"{TEMPORARY}*")):
        if _is_mine(path):
            yield _leftover(path, "a checkpoint that was never finished", own, saving)
    unfinished = (
        path
        for file in (run_dir.config, run_dir.summary)
        for path in run_dir.path.glob(f".{file.name}.*.tmp")
    )
    for path in (run_dir.path / ".published", *unfinished):
        if _is_mine(path):
            yield _leftover(path, "of a run that is no more", own)


def _temporaries(folder: Path) -> Iterator[Leftover]:
    """Yield unfinished stores and files: their writer's pid is in their names."""
    for path in sorted(folder.glob(".*")):
        match = _TEMPORARY_FILE.fullmatch(path.name)
        if match is None or not _is_mine(path) or psutil.pid_exists(int(match[2])):
            continue
        lock = folder / f"{match[1]}.lock"
        if not is_locked(lock) and _quiet(path):
            yield _leftover(path, f"an unfinished {match[1]}, whose writer is no more", lock)


def _downloads(folder: Path) -> Iterator[Leftover]:
    for path in sorted(folder.glob("*.part")):
        notes = path.with_name(f"{path.name}.json")
        if _is_mine(path) and notes.is_file() and not is_locked(path) and _quiet(path):
            yield _leftover(path, "a download that was cut off; distlsh data fetch would go on with it", path)
            yield _leftover(notes, "notes of that download", path)


def _is_mine(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.geteuid()
    except OSError:
        return False


def _quiet(path: Path) -> bool:
    """Tell whether nothing in ``path`` was changed for some minutes."""
    newest = max((found.st_mtime for found in _stats(path)), default=0.0)
    return time.time() - newest > _QUIET_S


def _leftover(path: Path, why: str, *locks: Path) -> Leftover:
    return Leftover(path, why, sum(found.st_blocks * 512 for found in _stats(path)), locks)


def _stats(path: Path) -> Iterator[os.stat_result]:
    """Yield what is known of ``path`` and of all below it; no link is followed."""
    try:
        found = path.lstat()
        yield found
        if stat.S_ISDIR(found.st_mode):
            for one in path.iterdir():
                yield from _stats(one)
    except OSError:
        return
