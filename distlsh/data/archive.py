"""Unpacks zip and tar archives of files into a folder, and into nothing outside it."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from distlsh.errors import DataError, ResourceError

_Member = tuple[str, int, Callable[[], IO[bytes]]]
"""Name, size and a function that opens it."""


def extract(archive: Path, folder: Path) -> dict[str, int]:
    """Unpack the regular files of ``archive`` below ``folder``; return their names and sizes.

    DataError, before anything is written, if a name leads outside the folder or a member is a link
    or device; DataError if the archive is damaged or of another kind.  ResourceError if the disk has
    no room for it.  Files take their place one by one, each as a whole.
    """
    try:
        with _members(archive) as members:
            for name, _, _ in members:
                _refuse_outside(archive, folder, name)
            _refuse_too_large(archive, folder, sum(size for _, size, _ in members))
            for name, size, opener in members:
                _write(archive, folder / name, size, opener)
            return {name: size for name, size, _ in members}
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise DataError(archive, f"the archive is damaged ({error}); remove it and fetch it again") from error


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            yield _zip_members(archive, opened)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            yield _tar_members(archive, tar)
    else:
        raise DataError(archive, "is neither a zip nor a tar archive; was it downloaded whole?")


def _zip_members(archive: Path, opened: zipfile.ZipFile) -> list[_Member]:
    members: list[_Member] = []
    for info in opened.infolist():
        if info.is_dir():
            continue
        mode = info.external_attr >> 16
        if mode and (mode & 0o170000) not in (0, 0o100000):
            raise DataError(archive, f"holds {info.filename!r}, which is not a plain file; not unpacked")
        members.append((info.filename, info.file_size, lambda info=info: opened.open(info)))  # type: ignore[misc]
    return members


def _tar_members(archive: Path, opened: tarfile.TarFile) -> list[_Member]:
    members: list[_Member] = []
    for info in opened.getmembers():
        if info.isdir():
            continue
        if not info.isreg():
            raise DataError(archive, f"holds {info.name!r}, which is not a plain file; not unpacked")
        members.append((info.name, info.size, lambda info=info: _open_tar(opened, info)))  # type: ignore[misc]
    return members


def _open_tar(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = opened.extractfile(info)
    if file is None:
        raise tarfile.TarError(f"{info.name} cannot be read")
    return file


def _refuse_outside(archive: Path, folder: Path, name: str) -> None:
    pure = PurePosixPath(name.replace("\\", "/"))
    inside = (folder / name).resolve().is_relative_to(folder.resolve())
    if pure.is_absolute() or ".." in pure.parts or not inside or "\x00" in name:
        raise DataError(archive, f"holds {name!r}, which leads outside the folder; nothing was unpacked")


def _refuse_too_large(archive: Path, folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ResourceError(f"{archive}: unpacks to {size:,} bytes, {folder} has {free:,} free; make room")


def _write(archive: Path, path: Path, size: int, opener: Callable[[], IO[bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with opener() as source, temporary.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            if target.tell() != size:
                raise DataError(archive, f"{path.name} unpacks to {target.tell():,} bytes, not {size:,}")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
