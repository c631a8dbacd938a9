"""Checkpoints: a folder of arrays and a manifest, whole or not there at all.

A checkpoint is written into a hidden folder beside its place, synced to disk and then
renamed.  Whatever kills the writer leaves the earlier checkpoints as they were, and a
hidden folder that the next write sweeps.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from distlsh.errors import CheckpointError, LockError, ResourceError
from distlsh.folders import locked
from distlsh.model.array_files import Array, Unreadable, check_crc, check_size, load_array, write_array
from distlsh.model.manifest import (
    MANIFEST,
    Entry,
    Manifest,
    OtherVersion,
    is_file_name,
    read_manifest,
    write_manifest,
)

FOLDER = "checkpoints"  # of a run directory

TEMPORARY = ".tmp-"
"""Begins the names of folders that are no checkpoints yet, or no longer."""
_THREADS = 4  # checksums and writes release the GIL
_LIVE_THREADS = 2  # where others are at work
_COPIED_LAST = (".state1", ".state2", ".clock", ".dirty")
_SPARE_BYTES = 1 << 20  # headers, manifest and folders
_LOWER = "free some space, move the run with run.dir, or lower checkpoint.keep or model.hidden"

log = logging.getLogger(__name__)


class Moment(Enum):
    """How far a checkpoint has come."""

    BLOCK = "a block is about to be written"
    ARRAYS = "the arrays are written, the manifest is not"
    WRITTEN = "all is written and not in its place"
    IN_PLACE = "the checkpoint is in its place"


Watch = Callable[[Moment], None]


class LatestCheckpoint(NamedTuple):
    """A checkpoint that was found whole, and what a person should know about others."""

    path: Path
    warnings: list[str]
    damaged: list[str]  # names of those that could be removed before it


def write_checkpoint(
    folder: str | Path,
    name: str,
    arrays: Mapping[str, Array],
    state: Mapping[str, Any],
    keep: int,
    *,
    live: bool = False,
    damaged: Collection[str] = (),
    watch: Watch = lambda _: None,
) -> Path:
    """Write ``folder/name`` and return its path; then remove all but the ``keep`` newest.

    folder  of the run's checkpoints; made if missing
    name    of the checkpoint; if it is taken, "-2", "-3", ... is appended
    arrays  name -> array, any dtype without objects; written as ``<name>.npy``
    state   JSON values (NumPy numbers too)
    keep    at least 1, this one included
    live    others change the arrays meanwhile.  Each block is then as it was at one moment, and
            weights are copied before optimiser states, these before clocks, these before dirty marks:
            whoever changes a row marks it afterwards, so no changed row is without its mark
    damaged  names of checkpoints that were found so: they go before whole ones do
    watch   called, from several threads, before each block, when all arrays are written, when all is
            written and not in its place, and at the end; what it raises before then ends the writing

    Needs free space for one more checkpoint than is kept.  Raises ResourceError if the
    disk cannot hold it, CheckpointError if another process writes there or a name cannot
    be a file's.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for array_name in (name, *arrays):
        _check_name(array_name)
    with _only_writer(folder):
        _sweep(folder)
        target = _free_name(folder, name)
        _check_space(folder, arrays)
        temporary = folder / f"{TEMPORARY}{target.name}"
        try:
            _write_all(temporary, arrays, state, _next_sequence(folder), live, watch)
            watch(Moment.WRITTEN)
            os.rename(temporary, target)
            _sync_folder(folder)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise _write_error(error, folder, arrays) from error
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        watch(Moment.IN_PLACE)
        _prune(folder, keep, damaged)
    return target


def discard(path: Path) -> None:
    """Remove one checkpoint; a warning is logged where that fails.

    Raises CheckpointError if another process writes in its folder.
    """
    with _only_writer(path.parent):
        _remove(path)


def read_checkpoint(
    path: str | Path, *, verify: bool = True, mmap: bool = False
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return ``(arrays, state)`` of one checkpoint folder.

    verify  compare each file's checksum, which reads all of it; sizes are always compared
    mmap    map the files read-only instead of reading them into memory

    Raises CheckpointError, naming the file, if something is missing, damaged or of
    another version.
    """
    path = Path(path)
    manifest = read_manifest(path)
    _check_files(path, manifest, verify)
    arrays = {name: load_array(path / entry.file, entry, mmap) for name, entry in manifest.arrays.items()}
    return arrays, manifest.state


def checkpoints(folder: Path) -> list[Path]:
    """Return a run's checkpoints, the newest first; those whose manifest cannot be read are left out."""
    return _newest_first(folder, [])


def latest_checkpoint(path: str | Path, *, verify: bool = True) -> LatestCheckpoint:
    """Return the newest whole checkpoint, and a warning for each newer one that is damaged.

    path    a run directory, its ``checkpoints`` folder, or one checkpoint (which is then checked)
    verify  compare checksums too: reads the checkpoint; `read_checkpoint` need not do it again

    Raises CheckpointError if there is none, or if one is of another version: an older one would undo
    what another distlsh has trained.
    """
    try:
        return _latest(Path(path), verify)
    except PermissionError as error:
        raise CheckpointError(
            f"{error.filename or path}: cannot be read ({error.strerror}); a run's directory is its "
            "user's alone: ask for it to be opened to you (chmod go+rx), or copied"
        ) from error


def _latest(path: Path, verify: bool) -> LatestCheckpoint:
    if (path / MANIFEST).exists():
        _check_files(path, read_manifest(path), verify)
        return LatestCheckpoint(path, [], [])
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    warnings: list[str] = []
    damaged: list[str] = []
    for candidate in _newest_first(folder, warnings, OtherVersion):
        try:
            _check_files(candidate, read_manifest(candidate), verify)
        except CheckpointError as error:
            warnings.append(f"checkpoint {candidate.name} is damaged and was passed over: {error}")
            if not isinstance(error, Unreadable):
                damaged.append(candidate.name)
            continue
        for warning in warnings:
            log.warning(warning)
        return LatestCheckpoint(candidate, warnings, damaged)
    raise CheckpointError(_nothing_found(folder, warnings))


def _nothing_found(folder: Path, warnings: list[str]) -> str:
    if not folder.is_dir():
        return f"{folder}: no such folder; give a run directory or one of its checkpoints"
    if not warnings:
        return f"{folder}: holds no checkpoint; give a run directory that has saved one, or start a new run"
    return f"{folder}: no checkpoint in it is whole; start a new run.\n  " + "\n  ".join(warnings)


# --- writing


def _check_name(name: str) -> None:
    if not is_file_name(name):
        raise CheckpointError(f"{name!r} cannot be the name of a checkpoint's file: no '/', no leading '.'")


def lock_of(folder: Path) -> Path:
    """Return the file that is locked while a checkpoint is written into ``folder``."""
    folder = folder.absolute()
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system drops with the process."""
    # A file of its own: whoever may read a folder could lock that, and so keep this process from saving.
    path = lock_of(folder)
    try:
        with locked(path) as alone:
            if not alone:
                raise CheckpointError(
                    f"{folder}: another process is writing a checkpoint there; give each run its own run.dir"
                )
            yield
    except LockError as error:
        raise CheckpointError(str(error)) from error


def _sweep(folder: Path) -> None:
    """Remove what a killed writer left; the caller holds the lock."""
    for left in folder.glob(f"{TEMPORARY}*"):
        shutil.rmtree(left, ignore_errors=True)


def _free_name(folder: Path, name: str) -> Path:
    number, target = 1, folder / name
    while target.exists():
        number += 1
        target = folder / f"{name}-{number}"
    return target


def _bytes_needed(arrays: Mapping[str, Array]) -> int:
    return sum(array.nbytes for array in arrays.values()) + _SPARE_BYTES


def _check_space(folder: Path, arrays: Mapping[str, Array]) -> None:
    needed, free = _bytes_needed(arrays), shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"{folder}: a checkpoint needs {needed:,} bytes and the disk has {free:,} free; {_LOWER}"
        )


def _write_error(error: OSError, folder: Path, arrays: Mapping[str, Array]) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(
            f"{folder}: the disk filled up while writing a checkpoint of {_bytes_needed(arrays):,} bytes; "
            f"nothing of it was kept; {_LOWER}"
        )
    return CheckpointError(
        f"{error.filename or folder}: the checkpoint could not be written: {error.strerror}"
    )


def _write_all(
    temporary: Path,
    arrays: Mapping[str, Array],
    state: Mapping[str, Any],
    sequence: int,
    live: bool,
    watch: Watch,
) -> None:
    temporary.mkdir()
    entries: dict[str, Entry] = {}

    def write(name: str) -> Entry:
        return write_array(temporary, name, arrays[name], partial(watch, Moment.BLOCK))

    with ThreadPoolExecutor(_LIVE_THREADS if live else _THREADS) as pool:
        for names in _in_turns(arrays) if live else [list(arrays)]:
            entries.update(zip(names, pool.map(write, names), strict=True))
    watch(Moment.ARRAYS)
    write_manifest(temporary, sequence, {name: entries[name] for name in arrays}, dict(state))
    _sync_folder(temporary)


def _in_turns(arrays: Mapping[str, Array]) -> list[list[str]]:
    """Return the names in groups; each is wholly copied before the next is begun."""
    first = [name for name in arrays if not name.endswith(_COPIED_LAST)]
    return [first, *([name for name in arrays if name.endswith(end)] for end in _COPIED_LAST)]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _prune(folder: Path, keep: int, damaged: Collection[str]) -> None:
    """Remove the damaged, then the oldest, as many as are too many."""
    found = sorted(_newest_first(folder, []), key=lambda path: path.name in damaged)  # stable
    for old in found[max(keep, 1) :]:
        _remove(old)


def _remove(path: Path) -> None:
    """Remove a checkpoint; it is renamed first, so that half of one is never seen."""
    hidden = path.with_name(f"{TEMPORARY}old-{path.name}")
    try:
        os.rename(path, hidden)
    except OSError as error:
        log.warning("%s: an old checkpoint could not be removed: %s", path, error.strerror)
        return
    shutil.rmtree(hidden, ignore_errors=True)


# --- reading


def _newest_first(folder: Path, warnings: list[str], refused: type[Exception] | None = None) -> list[Path]:
    """Return the checkpoints whose manifest can be read; a warning for each other folder.

    refused  raised, where reading a manifest raises it, and no warning
    """
    found: list[tuple[int, Path]] = []
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        if not is_checkpoint(path):
            continue
        try:
            found.append((read_manifest(path).sequence, path))
        except CheckpointError as error:
            if refused is not None and isinstance(error, refused):
                raise
            warnings.append(f"checkpoint {path.name} is damaged and was passed over: {error}")
    return [path for _, path in sorted(found, reverse=True)]


def is_checkpoint(path: Path) -> bool:
    """Tell whether a folder is a checkpoint, perhaps a damaged one."""
    if path.name.startswith(".") or not path.is_dir():
        return False
    return (path / MANIFEST).exists() or any(path.glob("*.npy"))


def _next_sequence(folder: Path) -> int:
    newest = _newest_first(folder, [])
    return read_manifest(newest[0]).sequence + 1 if newest else 1


def _check_files(path: Path, manifest: Manifest, verify: bool) -> None:
    """Compare sizes, and with ``verify`` checksums, of all files with the manifest."""
    entries = list(manifest.arrays.values())
    for entry in entries:
        check_size(path / entry.file, entry.n_bytes)
    if verify:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda entry: check_crc(path / entry.file, entry.crc32), entries))
