"""Bytes of a file, decompressed, in blocks of whole lines.

The compression is told by the first bytes, never by the name.  Reading and
decompressing run in a thread of their own, so that they overlap with the parsing.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import queue
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

from distlsh.errors import DataError
from distlsh.files import open_plain

BLOCK_BYTES = 4 << 20
LINE_LIMIT = 1 << 25
"""Bytes of the longest line: over two million features; a line is held in memory as a whole."""

_ZSTD_INPUT = 1 << 11
"""Bytes decompressed at a time: 4 bytes can stand for 128 KiB, so these for at most 64 MiB."""

_XZ_INPUT = 1 << 16
_WINDOW = 1 << 27
"""Bytes that a decompressor may hold of what it has written: a file says how much it wants."""

Progress = Callable[[int, int], None]
"""Called with (bytes of the file done, bytes of the file)."""

_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


def compression(head: bytes) -> str | None:
    """Return the name of the compression whose files begin with ``head``, or None."""
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    return None


class _ZstdReader(io.RawIOBase):
    """A zstd file as a raw stream: several frames are read one after another."""

    def __init__(self, file: BinaryIO) -> None:
        import zstandard

        self._file = file
        self._new = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj
        self._frame = self._new()
        self._fed = False
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            data = self._frame.unused_data if self._frame.eof else b""
            data = data or self._file.read(_ZSTD_INPUT)
            if not data:
                return self._end()
            if self._frame.eof:
                self._frame = self._new()
            self._fed = True
            self._rest = memoryview(self._frame.decompress(data))
        n = min(len(buffer), len(self._rest))
        buffer[:n] = self._rest[:n]
        self._rest = self._rest[n:]
        return n

    def _end(self) -> int:
        if self._fed and not self._frame.eof:
            raise EOFError("zstd frame ends early")
        return 0


class _XzReader(io.RawIOBase):
    """An xz file as a raw stream: several streams are read one after another, zeros between them left out.

    `lzma.LZMAFile` would take all the memory that a file asks for.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._stream: lzma.LZMADecompressor | None = None
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on from ``offset`` bytes after the start, or after here; what lies between is read."""
        if whence not in (io.SEEK_SET, io.SEEK_CUR):
            raise io.UnsupportedOperation("the end is not known")
        target = offset + (self._at if whence == io.SEEK_CUR else 0)
        if target < self._at:
            self._file.seek(0)
            self._stream, self._at = None, 0
        while self._at < target and self.read(min(target - self._at, _XZ_INPUT)):
            pass
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        found = b""
        while not found:
            if self._stream is None or self._stream.eof:
                data = self._next_stream()
                if not data:
                    return 0
                self._stream = lzma.LZMADecompressor(memlimit=2 * _WINDOW)
            else:
                data = self._file.read(_XZ_INPUT) if self._stream.needs_input else b""
                if not data and self._stream.needs_input:
                    raise EOFError("xz stream ends early")
            found = self._stream.decompress(data, len(buffer))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def _next_stream(self) -> bytes:
        data = self._stream.unused_data if self._stream is not None else b""
        while not (data := data.lstrip(b"\0")):
            data = self._file.read(_XZ_INPUT)
            if not data:
                break
        return data


def decompressed(file: BinaryIO, name: str | None) -> BinaryIO:
    """Return what is packed in ``file``; ``name`` is what `compression` says of it."""
    if name == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if name == "bz2":
        return cast(BinaryIO, bz2.BZ2File(file))
    if name == "xz":
        return cast(BinaryIO, io.BufferedReader(_XzReader(file)))
    if name == "zstd":
        return cast(BinaryIO, io.BufferedReader(_ZstdReader(file)))
    return file


def _damage_errors() -> tuple[type[BaseException], ...]:
    errors: tuple[type[BaseException], ...] = (EOFError, OSError, zlib.error, lzma.LZMAError)
    try:
        import zstandard
    except ImportError:
        return errors
    return (*errors, zstandard.ZstdError)


def open_file(path: Path) -> BinaryIO:
    """Open ``path`` for reading; a DataError names what is wrong with it."""
    try:
        if path.is_dir():
            raise DataError(path, "is a folder; name the data file in it")
        return open_plain(path)
    except ValueError:
        raise DataError(
            path, "is no plain file, but a pipe, socket or device; write the data to a file"
        ) from None
    except FileNotFoundError:
        raise DataError(path, "no such file; check the path (relative to where the command runs)") from None
    except OSError as error:
        raise DataError(path, f"cannot be opened: {error.strerror}") from error


class ByteSource:
    """A file's decompressed bytes, read block by block.

    Use as a context manager.  ``compression`` is the name found or None; ``n_bytes``
    counts the decompressed bytes read so far.
    """

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        self.path = path
        self.n_bytes = 0
        self.compression: str | None = None
        self._progress = progress

    def __enter__(self) -> ByteSource:
        with ExitStack() as stack:
            self._raw = stack.enter_context(open_file(self.path))
            self.size = self.path.stat().st_size
            if self.size == 0:
                raise DataError(self.path, "the file is empty")
            self.compression = compression(self._raw.read(8))
            self._raw.seek(0)
            self._stream = self._open_stream()
            self._stack = stack.pop_all()
        return self

    def _open_stream(self) -> BinaryIO:
        try:
            return decompressed(self._raw, self.compression)
        except ImportError:
            raise DataError(
                self.path, "is compressed with zstd; install the package `zstandard`, or decompress the file"
            ) from None

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def read(self, n: int) -> bytes:
        """Return the next ``n`` bytes, fewer only at the end; DataError if the file is cut or damaged."""
        parts = []
        try:
            while n > 0 and (part := self._stream.read(n)):
                parts.append(part)
                n -= len(part)
        except _damage_errors() as error:
            raise self._damage(error) from error
        data = b"".join(parts) if len(parts) != 1 else parts[0]
        self.n_bytes += len(data)
        if self._progress is not None:
            self._progress(min(self._raw.tell(), self.size), self.size)
        return data

    def _damage(self, error: BaseException) -> DataError:
        at = f"after {self.n_bytes:,} bytes of text"
        if isinstance(error, EOFError):
            return DataError(self.path, f"the {self.compression} data ends early, {at}; copy the file again")
        kind = self.compression or "file"
        return DataError(self.path, f"the {kind} data is damaged {at} ({error}); copy the file again")


def text_blocks(source: ByteSource, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the text in blocks of about ``block_bytes`` that end with a newline.

    A last line without a newline is given one.
    """
    carry: list[bytes] = []
    held = 0
    for data in _read_ahead(source, block_bytes):
        cut = data.rfind(b"\n") + 1
        first = data.find(b"\n") + 1 or len(data)
        if held + first > LINE_LIMIT:
            raise DataError(source.path, f"a line is longer than {LINE_LIMIT:,} bytes; is this text?")
        if cut:
            yield b"".join([*carry, data[:cut]]) if carry else data[:cut]
            carry, held = [], 0
        if cut < len(data):
            carry.append(data[cut:] if cut else data)
            held += len(data) - cut
    if carry:
        yield b"".join([*carry, b"\n"])


def _read_ahead(source: ByteSource, block_bytes: int) -> Iterator[bytes]:
    """Yield blocks of ``source``, read by a thread that stays at most two blocks ahead."""
    ready: queue.Queue[bytes | BaseException] = queue.Queue(2)
    stopped = threading.Event()

    def fill() -> None:
        item: bytes | BaseException = b"-"
        while item and not isinstance(item, BaseException):
            try:
                item = source.read(block_bytes)
            except BaseException as error:
                item = error
            while not stopped.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if stopped.is_set():
                return

    thread = threading.Thread(target=fill, name="distlsh-read", daemon=True)
    thread.start()
    try:
        while item := ready.get():
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hexadecimal digits."""
    with open_file(path) as file:
        return hashlib.file_digest(cast(io.BufferedReader, file), "sha256").hexdigest()
