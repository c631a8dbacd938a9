"""The memory-mapped store of parsed data: a folder of raw ``.npy`` arrays and ``meta.json``.

Written to a temporary folder beside its place, fsynced, then renamed: a store is
there as a whole or not at all.  ``meta.json`` holds the version, what the rows came
from, and of each array its shape, its CRC-32 and the CRC-32 of sampled windows; it
carries a checksum of itself.

Checking at opening: ``meta.json`` and every file's header and size always; the full
CRC-32, and that every id lies where kernels may use it, at the first opening and again
whenever a file is not the one noted in ``verified.json`` after the last full check
(size, times, inode; who wrote the note must be this user or root); otherwise only the
sampled windows (`_N_WINDOWS` of `_WINDOW_BYTES` an array), some milliseconds.
`verify_store` does the full check on demand.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import FLOAT, ID, OFFSET, STORE_VERSION
from distlsh.data.block import RowBlock
from distlsh.data.dataset import Dataset
from distlsh.data.store_meta import check_meta
from distlsh.errors import StoreError
from distlsh.files import JSON_BYTES, open_plain, parse_json, read_json, short
from distlsh.folders import temporary_beside

_DTYPES: dict[str, np.dtype[Any]] = {
    "indptr": OFFSET,
    "indices": ID,
    "values": FLOAT,
    "label_indptr": OFFSET,
    "labels": ID,
}
_HEADER_BYTES = 128
_WINDOW_BYTES = 4096
_N_WINDOWS = 16
_CRC_BLOCK = 1 << 22
_CHECKS = 3
"""Number of the full check that ``verified.json`` notes: 3 has looked at ids, and tells files by inode."""


def _npy_header(dtype: np.dtype[Any], length: int) -> bytes:
    """Return a version 1.0 header of fixed size, so that it can be written last."""
    text = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': ({length},), }}"
    magic = b"\x93NUMPY\x01\x00"
    n = _HEADER_BYTES - len(magic) - 2
    return magic + struct.pack("<H", n) + text.ljust(n - 1).encode("ascii") + b"\n"


class _ArrayFile:
    """One array being written: appended to, its header filled in at the end."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.dtype = _DTYPES[name]
        self.length = 0
        self.crc = 0
        self._file: BinaryIO = (folder / f"{name}.npy").open("xb")
        self._file.write(bytes(_HEADER_BYTES))

    def append(self, array: NDArray[Any]) -> None:
        data = np.ascontiguousarray(array, self.dtype).view(np.uint8).data if len(array) else b""
        self.crc = zlib.crc32(data, self.crc)
        self._file.write(data)
        self.length += len(array)

    def finish(self) -> dict[str, Any]:
        self._file.seek(0)
        self._file.write(_npy_header(self.dtype, self.length))
        self._file.flush()
        os.fsync(self._file.fileno())
        path = Path(self._file.name)
        self.close()
        return {
            "dtype": self.dtype.str,
            "length": self.length,
            "crc32": self.crc,
            "sample_crc32": _sample_crc(path),
        }

    def close(self) -> None:
        self._file.close()


class StoreWriter:
    """Writes rows to the new folder ``path``; nothing is held but one block.

    Use as a context manager; `finish` fsyncs and writes ``meta.json``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._files = {name: _ArrayFile(path, name) for name in _DTYPES}
        self._ends = {"indptr": 0, "label_indptr": 0}
        for name in self._ends:
            self._files[name].append(np.zeros(1, OFFSET))

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        for file in self._files.values():
            file.close()

    def append(self, block: RowBlock) -> None:
        """Add the rows of ``block``."""
        self._append_sizes("indptr", block.feature_sizes)
        self._append_sizes("label_indptr", block.label_sizes)
        self._files["indices"].append(block.indices)
        self._files["values"].append(block.values)
        self._files["labels"].append(block.labels)

    def _append_sizes(self, name: str, sizes: NDArray[np.int32]) -> None:
        ends = np.cumsum(sizes, dtype=OFFSET)
        ends += self._ends[name]
        if len(ends):
            self._ends[name] = int(ends[-1])
        self._files[name].append(ends)

    def finish(self, n_features: int, n_labels: int, meta: dict[str, Any]) -> None:
        """Complete the folder; ``meta`` is kept beside what the store itself notes."""
        arrays = {name: file.finish() for name, file in self._files.items()}
        content = {
            **meta,
            "version": STORE_VERSION,
            "n_rows": arrays["indptr"]["length"] - 1,
            "n_features": n_features,
            "n_labels": n_labels,
            "arrays": arrays,
        }
        write_json(self.path / "meta.json", {**content, "checksum": _checksum(content)})
        sync_folder(self.path)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` to a new file, fsync it and rename it to ``path``."""
    temporary = temporary_beside(path)
    with temporary.open("x", encoding="utf-8") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def sync_folder(path: Path) -> None:
    """Make the entries of a folder durable, where the file system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems refuse to sync folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def read_meta(path: Path) -> dict[str, Any]:
    """Return ``meta.json`` of a store; StoreError if it is missing, damaged or of another version."""
    try:
        content = read_json(path / "meta.json")
        checksum = content.pop("checksum")
    except FileNotFoundError:
        raise StoreError(f"{path}: no data store (meta.json is missing)") from None
    except (ValueError, KeyError, OSError) as error:
        raise StoreError(f"{path}: meta.json is damaged ({short(error)})") from error
    if content.get("version") != STORE_VERSION:
        raise StoreError(f"{path}: store version {short(content.get('version'))}, expected {STORE_VERSION}")
    if checksum != _checksum(content):
        raise StoreError(f"{path}: meta.json does not match its checksum")
    try:
        check_meta(content)
    except ValueError as error:
        raise StoreError(f"{path}: meta.json does not describe a store ({short(error)})") from error
    return content


def open_store(path: Path, *, verify: bool = False) -> Dataset:
    """Map the store ``path``; StoreError if anything about it is not as written.

    verify  check the full checksums, and every id, even if the files look unchanged
    """
    meta = read_meta(path)
    stats = {name: _check_file(path, name, meta["arrays"][name]) for name in _DTYPES}
    noted = {**stats, "checks": _CHECKS}
    arrays = {name: _map(path, name, meta["arrays"][name]["length"]) for name in _DTYPES}
    if verify or _noted(path) != noted:
        _verify_full(path, meta)
        _verify_ids(path, meta, arrays)
        _note(path, noted)
    else:
        _verify_sample(path, meta)
    return Dataset(
        **arrays,
        n_features=meta["n_features"],
        n_labels=meta["n_labels"],
        path=path,
        source=meta.get("name", str(path)),
        meta=meta,
    )


def verify_store(path: Path) -> None:
    """Check every byte of a store against its checksums; StoreError names the array that differs."""
    open_store(path, verify=True)


def store_bytes(path: Path) -> int:
    """Return the size of the store's files."""
    return sum(file.stat().st_size for file in path.iterdir() if file.is_file())


def _check_file(path: Path, name: str, entry: dict[str, Any]) -> list[int]:
    """Return [size, mtime_ns, ctime_ns, inode] of an array's file after checking its size and header."""
    file = path / f"{name}.npy"
    try:
        with open_plain(file) as opened:
            stat = os.fstat(opened.fileno())
            header = opened.read(_HEADER_BYTES)
    except (OSError, ValueError) as error:
        raise StoreError(f"{file}: cannot be read ({short(error)})") from error
    dtype = _DTYPES[name]
    if stat.st_size != _HEADER_BYTES + entry["length"] * dtype.itemsize:
        raise StoreError(f"{file}: has {stat.st_size} bytes, not those of {entry['length']} entries")
    if entry["dtype"] != dtype.str or header != _npy_header(dtype, entry["length"]):
        raise StoreError(f"{file}: its header is not the one written")
    # Size and mtime can be set at will, and come along in a copy or an unpacked archive; these do not.
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _verify_full(path: Path, meta: dict[str, Any]) -> None:
    for name, entry in meta["arrays"].items():
        crc = 0
        with _opened(path / f"{name}.npy") as file:
            file.seek(_HEADER_BYTES)
            while data := file.read(_CRC_BLOCK):
                crc = zlib.crc32(data, crc)
        if crc != entry["crc32"]:
            raise StoreError(f"{path / name}.npy: does not match its checksum")


def _verify_ids(path: Path, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Raise StoreError unless every row's ids lie in the store and within its numbers of ids."""
    from distlsh.kernels.checks import GOOD, first_bad_row

    for starts, ids, n in (("indptr", "indices", "n_features"), ("label_indptr", "labels", "n_labels")):
        bad = int(first_bad_row(arrays[starts], arrays[ids], 0, len(arrays[ids]), meta[n]))
        if bad != GOOD:
            raise StoreError(
                f"{path / ids}.npy: row {bad} does not hold ascending ids in [0, {meta[n]}); "
                "parse the data again"
            )
    values = arrays["values"]
    for first in range(0, len(values), _CRC_BLOCK):
        finite = np.isfinite(values[first : first + _CRC_BLOCK])
        if not finite.all():
            place = first + int(np.argmin(finite))
            row = int(np.searchsorted(arrays["indptr"], place, side="right")) - 1
            raise StoreError(
                f"{path / 'values'}.npy: row {row} has {values[place]} for feature "
                f"{arrays['indices'][place]}; parse the data again"
            )


def _verify_sample(path: Path, meta: dict[str, Any]) -> None:
    for name, entry in meta["arrays"].items():
        if _sample_crc(path / f"{name}.npy") != entry["sample_crc32"]:
            raise StoreError(f"{path / name}.npy: does not match its sampled checksum")


def _windows(size: int) -> Iterator[int]:
    last = max(0, size - _WINDOW_BYTES)
    for i in range(_N_WINDOWS):
        yield last * i // (_N_WINDOWS - 1)


def _sample_crc(path: Path) -> int:
    """Return the CRC-32 of evenly spaced windows of a file, its first and last bytes included."""
    crc = 0
    with _opened(path) as file:
        for start in _windows(os.fstat(file.fileno()).st_size):
            file.seek(start)
            crc = zlib.crc32(file.read(_WINDOW_BYTES), crc)
    return crc


def sample_digest(path: Path) -> str:
    """Return a digest of a source file's size and sampled windows: cheap, for files that look unchanged."""
    return f"{path.stat().st_size:x}-{_sample_crc(path):08x}"


def _noted(path: Path) -> Any:
    """Return what was noted of an earlier check; None if others could have written it."""
    try:
        with open_plain(path / "verified.json", follow=False) as file:
            if os.fstat(file.fileno()).st_uid not in (os.geteuid(), 0):
                return None
            return parse_json(file.read(JSON_BYTES).decode())
    except (OSError, ValueError):
        return None


def _note(path: Path, noted: dict[str, Any]) -> None:
    if path.stat().st_uid != os.geteuid():
        return  # another user's is never written, and so checked in full each time
    with suppress(OSError):
        write_json(path / "verified.json", noted)


def _map(path: Path, name: str, length: int) -> Any:
    if length == 0:
        empty = np.zeros(0, _DTYPES[name])
        empty.flags.writeable = False
        return empty
    with _opened(path / f"{name}.npy") as file:
        mapped = np.memmap(file, _DTYPES[name], "r", offset=_HEADER_BYTES, shape=(length,))
    return np.asarray(mapped)


def _opened(file: Path) -> BinaryIO:
    try:
        return open_plain(file)
    except ValueError as error:
        raise StoreError(f"{file}: cannot be read ({error})") from None
