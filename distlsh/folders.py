"""Whether a file or folder is this user's alone, and where the user's caches lie."""

from __future__ import annotations

import os
import stat
from pathlib import Path


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
    if found.st_mode & stat.S_IWOTH:
        return "can be written by all users"
    if found.st_mode & stat.S_IWGRP:
        return f"can be written by the group {found.st_gid}"
    return None


def who_else_reads(path: Path) -> str | None:
    """Return in words who else can read the file ``path``; None if it is this user's alone."""
    found = path.stat()
    if found.st_uid != os.geteuid():
        return f"belongs to user {found.st_uid}"
    return f"has mode {found.st_mode & 0o777:04o}" if found.st_mode & 0o077 else None
