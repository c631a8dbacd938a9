"""Where stores lie, and how they are built once by whoever comes first."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distlsh.data.dataset import Dataset
from distlsh.data.store import open_store, sync_folder
from distlsh.errors import StoreError
from distlsh.folders import cache_root, company, make_own, open_lock, temporary_beside

FOLDER = ".distlsh-cache"
_POLL_S = 0.05
_NOTICE_S = 10.0

_log = logging.getLogger(__name__)


def user_cache_dir() -> Path:
    """Return the user's folder of stores: ``$DISTLSH_CACHE/data`` or ``~/.cache/distlsh/data``."""
    return cache_root() / "data"


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
        if folder == user_cache_dir():
            make_own(folder)  # compiled kernels lie beside it
        else:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def writable_folder(folders: list[Path]) -> Path:
    """Return the first folder that can be written, this user's before others'.

    StoreError names what to set if none can.
    """
    for folder in sorted(
        folders, key=lambda folder: folder.exists() and folder.stat().st_uid != os.geteuid()
    ):
        if is_writable(folder):
            return folder
    tried = ", ".join(str(folder) for folder in folders)
    raise StoreError(f"no folder for parsed data can be written (tried {tried}); set data.cache_dir to one")


@contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Hold the file lock ``path``; yield whether it is held.

    Where there are no locks, or another user made the file and could hold it for ever, go on without:
    two builders then both build, and the last to rename stays.
    """
    try:
        descriptor = open_lock(path)
    except OSError:
        yield False
        return
    try:
        mine = os.fstat(descriptor).st_uid == os.geteuid()  # a superuser can open others' too
        yield mine and _wait_for(descriptor, path)
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path) -> bool:
    """Wait for the lock, as long as it takes another process of this user to build; say so now and then."""
    import fcntl

    next_notice = time.monotonic() + _NOTICE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(_POLL_S)
        except OSError:
            return False
        if time.monotonic() > next_notice:
            next_notice += 60 * _NOTICE_S
            _log.warning("waiting for another process that holds %s; if there is none, remove it", path)


def build_once(
    final: Path,
    build: Callable[[Path], None],
    trusts: Callable[[Path], bool],
    is_current: Callable[[Dataset], bool],
) -> Dataset:
    """Return the store ``final``, building it if it is missing, damaged or not current.

    build       writes a whole store to the (missing) folder it is given
    trusts      whether the store in a folder is believed (`believed`)
    is_current  whether an opened store is of the wanted source

    Processes that come at the same time wait for the first and share its store.
    """
    with _lock(final.parent / f"{final.name}.lock") as alone:
        found = open_current(final, trusts, is_current)
        if found is not None:
            return found
        if alone:
            _sweep(final)
        temporary = temporary_beside(final)
        try:
            build(temporary)
            _replace(temporary, final)
        except OSError as error:
            raise _cannot_write(final, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return open_store(final)


def open_current(
    final: Path, trusts: Callable[[Path], bool], is_current: Callable[[Dataset], bool]
) -> Dataset | None:
    """Return the store ``final`` if it is there, believed, whole and current, else None."""
    try:
        if not trusts(final):  # first: opening may read all of it, however large a stranger made it
            return None
        found = open_store(final)
        return found if trusts(final) and is_current(found) else None
    except (StoreError, OSError, KeyError, TypeError):
        return None


def believed(store: Path, source: Path | None, *, chosen: bool) -> bool:
    """Tell whether to use a store that may be another user's: sums tell damage, not lies.

    Believed are this user, root and the owner of the source; others only where the folder's owner alone
    writes, and that owner is one of these or the user chose the folder.  Who is believed may change the
    store later too, while it is mapped.

    source  what the store was made from;  chosen  whether the user named the folder
    """
    own, folder = store.stat(), store.parent.stat()
    owners = {os.geteuid(), 0} | ({source.stat().st_uid} if source is not None else set())
    if company(own) is not None:
        return False
    vouched = company(folder) is None and (chosen or folder.st_uid in owners)
    return own.st_uid in owners or vouched


def _replace(temporary: Path, final: Path) -> None:
    """Put the new folder in its place; processes that map the old one keep their view of it."""
    old = temporary_beside(final).with_suffix(".old")
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
