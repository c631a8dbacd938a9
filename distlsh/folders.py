"""Whether files and folders are this user's alone, where caches lie, and names that nobody foresees."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from distlsh.errors import LockError, UsageError


def cache_root() -> Path:
    """Return the user's folder of caches: ``$DISTLSH_CACHE`` or ``~/.cache/distlsh``."""
    return Path(
        os.environ.get("DISTLSH_CACHE")
        or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "distlsh")
    )


def who_else_writes(path: Path) -> str | None:
    """Return in words who else can change what ``path`` holds; None if this user or root alone."""
    found = path.stat()
    if found.st_uid not in (os.geteuid(), 0):
        return f"belongs to user {found.st_uid}"
    return company(found)


def company(found: os.stat_result) -> str | None:
    """Return in words who beside its owner may write a file or folder; None if nobody."""
    if found.st_mode & stat.S_IWOTH:
        return "can be written by all users"
    if found.st_mode & stat.S_IWGRP and not _is_own_group(found.st_gid):
        return f"can be written by the group {found.st_gid}"
    return None


def _is_own_group(gid: int) -> bool:
    """Tell whether a group is this user's private one: of the user's name, with nobody else in it."""
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    own = (group.gr_gid, group.gr_name) == (user.pw_gid, user.pw_name)
    return own and set(group.gr_mem) <= {user.pw_name}


def who_else_reads(path: Path) -> str | None:
    """Return in words who else can read the file ``path``; None if it is this user's alone."""
    found = path.stat()
    if found.st_uid != os.geteuid():
        return f"belongs to user {found.st_uid}"
    return f"has mode {found.st_mode & 0o777:04o}" if found.st_mode & 0o077 else None


def all_may_rename_in(folder: Path) -> bool:
    """Tell whether every user can put another file in the place of one in ``folder``."""
    mode = folder.stat().st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def own_folder(path: Path) -> Path:
    """Return the folder ``path``, made with mode 0700 if missing, which only this user (or root) can write.

    Nor can others put another in its place, or in that of a folder above.  For what is trusted when it is
    read back.  UsageError says who else could write it, and what to do.
    """
    try:
        make_own(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be made ({error.strerror}); set DISTLSH_CACHE to a folder of your own"
        ) from error
    why = who_else_writes(path) or who_else_replaces(path)
    if why is not None:
        raise UsageError(
            f"{path} {why}; what others put there would be run: set DISTLSH_CACHE to a folder of your own, "
            f"or make it your own: chmod go-w, or remove it, to be made again: rm -r {path}"
        )
    return path


def who_else_replaces(path: Path) -> str | None:
    """Return in words who else can put another file or folder in the place of ``path``; None if nobody.

    Looked at are all folders above it, as it is named and where links lead; OSError where one is missing.
    """
    for folder in _above(path):
        why, found = who_else_writes(folder), folder.stat()
        sticky = found.st_mode & stat.S_ISVTX and found.st_uid in (os.geteuid(), 0)
        if why is not None and not sticky:
            return f"lies in {folder}, which {why}: who can put another in its place"
    return None


def where_all_may_replace(path: Path) -> Path | None:
    """Return a folder above ``path`` in which every user can put another in its place; None if none is so."""
    return next((folder for folder in _above(path) if all_may_rename_in(folder)), None)


def _above(path: Path) -> list[Path]:
    return list(dict.fromkeys((*path.absolute().parents, *path.resolve().parents)))


def make_own(path: Path) -> None:
    """Make a folder, and those above it that are missing, with mode 0700 whatever the umask; OSError."""
    if path.is_dir():
        return
    if not path.parent.is_dir():
        make_own(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)  # whatever the umask


def temporary_beside(path: Path) -> Path:
    """Return a new name for what shall take the place of ``path``: ``.NAME.PID-HEX.tmp``."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def open_without_links(path: Path, mode: str, flags: int) -> BinaryIO:
    """Open ``path`` for writing, but no link that somebody put there; OSError where it is one.

    mode   of `open`;  flags  beside O_NOFOLLOW
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    return open(descriptor, mode)  # type: ignore[return-value]


def open_lock(path: Path) -> int:
    """Return a descriptor of the file ``path``, made if missing, for a lock that no other user can hold.

    OSError where another user made it, or it is a link.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)  # made by an earlier version, or by hand
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock ``path`` (`open_lock`); yield False, without it, where another process holds it.

    LockError where the file cannot be opened.
    """
    try:
        descriptor = open_lock(path)
    except OSError as error:
        raise LockError(f"{path}: cannot be opened ({error.strerror}); remove it") from error
    try:
        yield _lock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Tell whether another process holds the lock ``path``, if it is there; True where that is unknown.

    A link is no lock of ours, whatever it leads to, and nobody holds it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    except OSError:
        return True
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    # Not at the first failure: somebody may just be looking whether it is held.
    for wait_s in (0.0, 0.01, 0.05, 0.2):
        time.sleep(wait_s)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            continue
    return False


def careful_umask() -> int:
    """Make no file or folder from now on that others can write; return the umask of before."""
    before = os.umask(0o022)
    os.umask(before | 0o022)
    return before
