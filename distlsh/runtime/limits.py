"""What a run needs of the host beside memory: room on the disk, open files, processes."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from distlsh.errors import ConfigError, ResourceError
from distlsh.model.checkpoint import TEMPORARY
from distlsh.shm.cgroup import tightest
from distlsh.shm.memory import human
from distlsh.shm.spec import ArraySpec

_FILES, _FILES_A_WORKER = 64, 8
"""Descriptors of the coordinator; counted: 36 and 5."""

_TASKS, _TASKS_A_CHILD = 16, 5
"""Threads of coordinator and fork server, and of a child; counted: 11 and 4."""

_MOST_CHUNKS = 1 << 20
"""Of an epoch: those that are left are listed in a checkpoint's manifest, at most 27 bytes each."""

_SPARE_BYTES = 4 << 20


def allow_files(workers: int) -> Callable[[], None]:
    """Raise this process's limit of open files to what a run needs; return what takes it back.

    ResourceError where the hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES + _FILES_A_WORKER * workers + len(os.listdir("/proc/self/fd"))
    if soft in (resource.RLIM_INFINITY, -1) or soft >= needed:
        return lambda: None
    if hard not in (resource.RLIM_INFINITY, -1) and hard < needed:
        raise ResourceError(
            f"a run with {workers} workers needs {needed:,} open files, and this process may have {hard:,}: "
            f"lower run.workers, or raise the limit before the start: ulimit -n {needed}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def check_tasks(workers: int) -> None:
    """Raise ResourceError where this user, or this control group, may not start so many processes."""
    needed = _TASKS + _TASKS_A_CHILD * (workers + 1)
    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if most not in (resource.RLIM_INFINITY, -1) and os.geteuid() != 0:  # root is not held to it
        used = _tasks_of_user(os.getuid())
        if most - used < needed:
            raise ResourceError(
                f"a run with {workers} workers starts {needed} processes and threads; this user may have "
                f"{most:,} and has {used:,}: lower run.workers, or raise the limit: ulimit -u {used + needed}"
            )
    group = tightest("pids")
    if group is not None and group.left < needed:
        raise ResourceError(
            f"a run with {workers} workers starts {needed} processes and threads; this control group may "
            f"have {group.most:,} and has {group.used:,}: lower run.workers, or raise its pids.max "
            "(docker run --pids-limit, systemd TasksMax)"
        )


def check_chunks(n_train: int, size: int) -> None:
    """Raise ConfigError where an epoch has more chunks than a checkpoint lists."""
    if n_train > _MOST_CHUNKS * size:
        raise ConfigError(
            f"train.chunk_size: {n_train:,} instances in chunks of {size:,} are more than {_MOST_CHUNKS:,}; "
            f"raise it to {-(-n_train // _MOST_CHUNKS):,} or more"
        )


def _tasks_of_user(user: int) -> int:
    found = 0
    for process in psutil.process_iter(["uids", "num_threads"]):
        uids = process.info["uids"]
        if uids is not None and uids.real == user:
            found += process.info["num_threads"] or 1
    return found


def check_disk(
    folder: Path, specs: Sequence[ArraySpec], keep: int, more_bytes: int = 0, *, resumed: bool = False
) -> str | None:
    """Return a warning where the disk of a run's ``folder`` holds fewer checkpoints than it should.

    specs       the run's arrays
    keep        checkpoints that are kept; one more is there while it is written
    more_bytes  of a checkpoint, beside those arrays
    resumed     the run goes on, so that its network and place are given

    Raises ResourceError where there is not even room for one.  What the run has saved before a resume
    counts as room, but for the one that it goes on from; what a killed save left is room at once, since
    the next one removes it.
    """
    one = sum(spec.n_bytes for spec in specs if spec.persistent) + more_bytes + _SPARE_BYTES
    place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(place).free + _bytes_in(folder, f"{TEMPORARY}*/*")
    wanted = (keep + 1) * one - _bytes_in(folder, "[!.]*/*")
    said = f"{place}: a checkpoint takes up to {human(one)}, {human(free)} are free"
    if free < one:
        advice = (
            "or move the run's directory" if resumed else "move the run with run.dir, or lower model.hidden"
        )
        raise ResourceError(f"{said}, not enough for one: free some space, {advice}")
    if free < wanted:
        return (
            f"{said}; checkpoint.keep = {keep} needs {human(wanted)}: free some space, move the run with "
            "run.dir, or lower checkpoint.keep"
        )
    return None


def _bytes_in(folder: Path, pattern: str) -> int:
    files = (folder / "checkpoints").glob(pattern)
    return sum(path.stat().st_size for path in files if path.is_file())
