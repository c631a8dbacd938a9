"""Where stores lie, and how they are built once by whoever comes first."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from distlsh.data.dataset import Dataset
from distlsh.data.store import open_store, sync_folder
from distlsh.errors import StoreError

FOLDER = ".distlsh-cache"


def user_cache_dir() -> Path:
    """Return the user's folder of stores: ``$DISTLSH_CACHE/data`` or ``~/.cache/distlsh/data``."""
    root = os.environ.get("DISTLSH_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "distlsh"
    )
    return Path(root) / "data"


def cache_folders(source: Path, cache_dir: str | os.PathLike[str] | None) -> list[Path]:
    """Return the folders in which the store of ``source`` may lie, best first."""
    if cache_dir is not None:
        return [Path(cache_dir)]
    return [source.parent / FOLDER, user_cache_dir()]


def store_name(source: Path, folder: Path, *settings: str) -> str:
    """Return ``<stem>-<digest>``: one name for one source file and way of reading it.

    A store beside its source is known by the file's name, so that both can be moved together;
    elsewhere by the file's whole path.
    """
    beside = folder == source.parent / FOLDER
    identity = "\n".join([source.name if beside else str(source.resolve()), *settings])
    stem = source.name.split(".")[0] or "data"
    return f"{stem}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def is_writable(folder: Path) -> bool:
    """Return whether new entries can be made in ``folder``, creating it if need be.

    A folder without any write permission is left alone even by a superuser.
    """
    try:
        parent = folder
        while not parent.exists():
            parent = parent.parent
        if parent.stat().st_mode & 0o222 == 0:
            return False
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def writable_folder(folders: list[Path]) -> Path:
    """Return the first folder that can be written; StoreError names what to set if none can."""
    for folder in folders:
        if is_writable(folder):
            return folder
    tried = ", ".join(str(folder) for folder in folders)
    raise StoreError(f"no folder for parsed data can be written (tried {tried}); set data.cache_dir to one")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the file lock ``path``; where locks are not supported, go on without."""
    import fcntl

    with path.open("a") as file:
        with suppress(OSError):  # without locks two builders both build, and the last to rename stays
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build_once(final: Path, build: Callable[[Path], None], is_current: Callable[[Dataset], bool]) -> Dataset:
    """Return the store ``final``, building it if it is missing, damaged or not current.

    build       writes a whole store to the (missing) folder it is given
    is_current  whether an opened store is of the wanted source

    Processes that come at the same time wait for the first and share its store.
    """
    with _lock(final.parent / f"{final.name}.lock"):
        found = open_current(final, is_current)
        if found is not None:
            return found
        _sweep(final)
        temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
        try:
            build(temporary)
            _replace(temporary, final)
        except OSError as error:
            raise _cannot_write(final, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return open_store(final)


def open_current(final: Path, is_current: Callable[[Dataset], bool]) -> Dataset | None:
    """Return the store ``final`` if it is whole and current, else None."""
    try:
        found = open_store(final)
    except (StoreError, OSError, KeyError, TypeError):
        return None
    return found if is_current(found) else None


def _replace(temporary: Path, final: Path) -> None:
    """Put the new folder in its place; processes that map the old one keep their view of it."""
    old = final.with_name(f".{final.name}.{os.getpid()}.old")
    if final.exists():
        final.rename(old)
    temporary.rename(final)
    sync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sweep(final: Path) -> None:
    """Remove what builders that died left; called under the lock."""
    for leftover in final.parent.glob(f".{final.name}.*"):
        if leftover.suffix in (".tmp", ".old"):
            shutil.rmtree(leftover, ignore_errors=True)


def _cannot_write(final: Path, error: OSError) -> StoreError:
    what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
    return StoreError(
        f"{final}: the store of parsed data cannot be written ({what}); free some room or set data.cache_dir "
        "to a folder with more"
    )
