"""The ``.npy`` files of a checkpoint: written with a checksum, read with distrust."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from distlsh.errors import CheckpointError
from distlsh.files import load_npy, open_plain, short
from distlsh.model.manifest import Entry

Array = NDArray[Any]

_BLOCK_BYTES = 4 << 20  # in a buffer a thread, which is all that saving takes
_SYNC_BYTES = 64 << 20  # written between two syncs: no long one at the end, whose wait nothing could end


def write_array(folder: Path, name: str, array: Array, before_block: Callable[[], None]) -> Entry:
    """Stream one array in ``.npy`` format to ``folder/<name>.npy``, and return its entry in the manifest.

    The array may change meanwhile; each block is copied at once.
    """
    array = np.asarray(array, order="C")
    path = folder / f"{name}.npy"
    with open(path, "wb", buffering=0) as file:
        writer = _ChecksumWriter(file)
        npy.write_array_header_2_0(writer, npy.header_data_from_array_1_0(array))
        for block in _copies(array.reshape(-1).view(np.uint8)):
            before_block()
            writer.write(block)
        os.fsync(file.fileno())
    return Entry(
        file=path.name,
        shape=list(array.shape),
        dtype=array.dtype.str,
        n_bytes=writer.n_bytes,
        crc32=writer.crc,
    )


def _copies(data: NDArray[np.uint8]) -> Iterator[memoryview]:
    """Yield the bytes in blocks of one's own: the sum over bytes that change would be one of other bytes."""
    own = np.empty(min(len(data), _BLOCK_BYTES), np.uint8)
    for start in range(0, len(data), _BLOCK_BYTES):
        block = own[: len(data) - start]
        np.copyto(block, data[start : start + _BLOCK_BYTES])
        yield block.data


class _ChecksumWriter:
    """Writes whole buffers to an unbuffered file, and sums up what it wrote."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.crc = 0
        self.n_bytes = 0
        self._unsynced = 0

    def write(self, data: bytes | memoryview) -> int:
        self.crc = zlib.crc32(data, self.crc)
        self.n_bytes += len(data)
        rest = memoryview(data)
        while len(rest):
            rest = rest[self._file.write(rest) :]
        self._unsynced += len(data)
        if self._unsynced >= _SYNC_BYTES:
            self._unsynced = 0
            os.fdatasync(self._file.fileno())
        return len(data)


class Unreadable(CheckpointError):
    """A file cannot be read now; for all that is known it is whole."""


def check_size(file: Path, expected: int) -> None:
    """Raise CheckpointError where ``file`` is missing or not of ``expected`` bytes."""
    try:
        size = file.stat().st_size
    except FileNotFoundError as error:
        raise CheckpointError(f"{file}: {error.strerror}; restore it, or use another checkpoint") from error
    except OSError as error:
        raise _unreadable(file, error) from error
    if size != expected:
        raise CheckpointError(
            f"{file}: {size:,} bytes, {expected:,} were written; restore it, or use another checkpoint"
        )


def check_crc(file: Path, expected: int) -> None:
    """Raise CheckpointError where the checksum of ``file``'s bytes is not ``expected``."""
    crc = 0
    buffer = memoryview(bytearray(_BLOCK_BYTES))
    try:
        with open_plain(file) as source:
            while n_read := source.readinto(buffer):
                crc = zlib.crc32(buffer[:n_read], crc)
    except OSError as error:
        raise _unreadable(file, error) from error
    except ValueError as error:
        raise CheckpointError(f"{file}: cannot be read: {short(error)}; use another checkpoint") from error
    if crc != expected:
        raise CheckpointError(f"{file}: damaged, its checksum differs; restore it, or use another checkpoint")


def load_array(file: Path, entry: Entry, mmap: bool) -> Array:
    """Return the array in ``file``; CheckpointError where it is not the one of the manifest's ``entry``."""
    try:
        array = load_npy(file, mmap=mmap)
    except OSError as error:
        raise _unreadable(file, error) from error
    except ValueError as error:
        raise CheckpointError(f"{file}: cannot be read ({error}); use another checkpoint") from error
    if list(array.shape) != entry.shape or array.dtype.str != entry.dtype:
        raise CheckpointError(f"{file}: its header is damaged; restore it, or use another checkpoint")
    return array


def _unreadable(file: Path, error: OSError) -> Unreadable:
    return Unreadable(f"{file}: cannot be read: {error.strerror}; use another checkpoint")
