"""Unpacks zip and tar archives of files into a folder, and into nothing outside it."""

from __future__ import annotations

import errno
import lzma
import math
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from distlsh.data.streams import compression, decompressed
from distlsh.errors import DataError, DistlshError, ResourceError
from distlsh.files import short
from distlsh.folders import temporary_beside

_MOST_MEMBERS = 100_000
_MOST_RATIO = 200
"""Times its own size that an archive may unpack to: text packs to a tenth, zeros to a thousandth."""

_SMALL_BYTES = 1 << 28
_MOST_HEADERS = 1 << 21
"""Bytes of a tar's headers before one member: extended ones hold names and comments, and nest."""

_MOST_DIRECTORY = 8 << 20
"""Bytes of a zip's list of members: each becomes an object of half a kilobyte, however short its entry."""

_LONGEST_END = 1 << 17
"""Bytes from which a zip's end is looked for; a comment of 64 KiB may follow it."""

_MOST_NAME = 4096

_Member = tuple[str, int, Callable[[], IO[bytes]]]
"""Name, size and a function that opens it."""


def extract(archive: Path, folder: Path) -> dict[str, int]:
    """Unpack the regular files of ``archive`` below ``folder``; return their names and sizes.

    DataError, before anything is written, if a name leads outside the folder, a member is a link or
    device, or there is far more in it than archives of data hold; DataError if the archive is damaged or
    of another kind.  ResourceError if the disk has no room for it.  Files take their place one by one,
    each as a whole.
    """
    try:
        with _members(archive) as members:
            for name, _, _ in members:
                _refuse_outside(archive, folder, name)
            _refuse_too_large(archive, folder, sum(size for _, size, _ in members))
            for name, size, opener in members:
                _write(archive, folder / name, size, opener)
            return {name: size for name, size, _ in members}
    except DistlshError:
        raise
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise _damaged(archive, error) from error
        # Of a file that is written: the disk, or names that cannot stand beside one another.
        raise DataError(archive, f"cannot be unpacked to {folder}: {str(error)[:300]}") from error
    except Exception as error:  # both modules raise whatever the bytes make them meet
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: Exception) -> DataError:
    what = f"{type(error).__name__}: {str(error)[:200]}"
    return DataError(archive, f"the archive is damaged ({what}); remove it and fetch it again")


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    if zipfile.is_zipfile(archive):
        with archive.open("rb") as raw:
            sparing = _Sparing(raw, _MOST_DIRECTORY)
            with zipfile.ZipFile(sparing) as opened:
                sparing.left = math.inf
                yield _zip_members(archive, opened)
        return
    with archive.open("rb") as raw:
        kind = compression(raw.read(8))
        if kind == "zstd":
            raise DataError(archive, "is compressed with zstd; decompress it first")
        raw.seek(0)
        with decompressed(raw, kind) as file:
            sparing = _Sparing(file, _MOST_HEADERS)
            with _open_as_tar(archive, sparing) as tar:
                yield _tar_members(archive, tar, sparing)


class _Sparing:
    """A file of which nobody reads much before a member: headers can ask for terabytes."""

    def __init__(self, file: Any, left: float) -> None:
        self._file = file
        self.tell, self.seek, self.seekable = file.tell, file.seek, file.seekable
        self.left = left

    def read(self, size: int = _LONGEST_END) -> bytes:
        if size > self.left:
            raise tarfile.ReadError(f"a header of {size:,} bytes, {self.left:,} at most")
        self.left -= size
        return bytes(self._file.read(size))


def _open_as_tar(archive: Path, file: _Sparing) -> tarfile.TarFile:
    try:
        return tarfile.TarFile(fileobj=file)  # type: ignore[arg-type]
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise DataError(
            archive, f"is neither a zip nor a tar archive ({error}); was it downloaded whole?"
        ) from error


def _zip_members(archive: Path, opened: zipfile.ZipFile) -> list[_Member]:
    members: list[_Member] = []
    _refuse_bomb(archive, len(opened.infolist()), sum(info.file_size for info in opened.infolist()))
    for info in opened.infolist():
        if info.is_dir():
            continue
        mode = info.external_attr >> 16
        if mode and (mode & 0o170000) not in (0, 0o100000):
            raise DataError(
                archive, f"holds {short(info.filename)!r}, which is not a plain file; not unpacked"
            )
        members.append((info.filename, info.file_size, lambda info=info: opened.open(info)))  # type: ignore[misc]
    return members


def _tar_members(archive: Path, opened: tarfile.TarFile, file: _Sparing) -> list[_Member]:
    members: list[_Member] = []
    n = unpacked = 0
    while (info := opened.next()) is not None:
        # At once, not at the end: to get past a member, all of it is decompressed.
        _refuse_bomb(archive, n, max(opened.offset, unpacked := unpacked + info.size))
        n, file.left = n + 1, _MOST_HEADERS
        opened.members = []  # type: ignore[attr-defined]
        info.pax_headers, opened.pax_headers = {}, {}
        if len(info.name) > _MOST_NAME:
            raise DataError(archive, f"holds {short(info.name)!r}, a name of {len(info.name):,} characters")
        if info.isdir():
            continue
        if not info.isreg():
            raise DataError(archive, f"holds {short(info.name)!r}, which is not a plain file; not unpacked")
        members.append((info.name, info.size, lambda info=info: _open_tar(opened, info)))  # type: ignore[misc]
    file.left = math.inf
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
        raise DataError(
            archive, f"holds {short(name)!r}, which leads outside the folder; nothing was unpacked"
        )


def _refuse_bomb(archive: Path, n_members: int, unpacked: int) -> None:
    packed = archive.stat().st_size
    if n_members > _MOST_MEMBERS:
        raise DataError(archive, f"holds more than {_MOST_MEMBERS:,} files; no archive of data does")
    if unpacked > max(_MOST_RATIO * packed, _SMALL_BYTES):
        raise DataError(
            archive,
            f"unpacks to {unpacked:,} bytes or more, over {_MOST_RATIO} times its own {packed:,}; "
            "unpack it by hand if you trust it",
        )


def _refuse_too_large(archive: Path, folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ResourceError(f"{archive}: unpacks to {size:,} bytes, {folder} has {free:,} free; make room")


def _write(archive: Path, path: Path, size: int, opener: Callable[[], IO[bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with opener() as source, temporary.open("xb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            if target.tell() != size:
                raise DataError(archive, f"{path.name} unpacks to {target.tell():,} bytes, not {size:,}")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
