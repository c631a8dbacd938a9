"""Tables in a folder: an ``.npy`` file an array, and a manifest that says what they are.

Readers that map the files share their pages, whatever the number of processes.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.errors import ConfigError, ResourceError, StoreError, UsageError
from distlsh.files import load_npy, read_json, short
from distlsh.folders import temporary_beside
from distlsh.lsh.checks import check_contents, check_shapes
from distlsh.lsh.layout import SHARED
from distlsh.lsh.spec import HashSpec

Array = NDArray[Any]

FORMAT = "distlsh-tables"
VERSION = 1
_MANIFEST = "manifest.json"

ARRAYS = ("ids", "sizes", "seen", "unpaired", "center", "max_norm", "codes", "weights", "sketch")
"""What is written of tables; weights and sketch where there are some."""


def write_tables(
    path: Path, arrays: Mapping[str, Array], spec: HashSpec, settings: Mapping[str, Any]
) -> None:
    """Write a folder that appears as a whole; one of the same kind at its place is replaced.

    Raises UsageError where something else is there, ResourceError where it cannot be written.
    """
    if path.exists() and not _is_ours(path):
        raise UsageError(f"{path}: exists and holds no tables; choose another folder or remove it")
    temporary = temporary_beside(path)
    try:
        temporary.mkdir(parents=True)
        entries = {name: _write_array(temporary, name, array) for name, array in arrays.items()}
        manifest = {"format": FORMAT, "version": VERSION, "spec": asdict(spec), **settings, "arrays": entries}
        _write_synced(temporary / _MANIFEST, json.dumps(manifest, indent=1).encode())
        _replace(temporary, path)
    except OSError as error:
        raise ResourceError(f"{path}: the tables could not be written: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_tables(path: Path, *, mmap: bool, verify: bool) -> tuple[dict[str, Array], HashSpec, dict[str, Any]]:
    """Return arrays of one buffer by name, the hash functions, and what else the manifest says.

    verify  compare checksums, and look at each id, size and code; shapes and types are always looked at

    Raises StoreError, naming the file, if something is missing, damaged or of another kind.
    """
    manifest = _read_manifest(path)
    try:
        spec = HashSpec(**manifest["spec"])
        names = [name for name in ARRAYS if name in manifest["arrays"]]
        entries = {name: _entry(manifest["arrays"][name]) for name in names}
        policy, manifest["seed"] = str(manifest["policy"]), int(manifest["seed"])
    except (KeyError, TypeError, ValueError, OverflowError, ConfigError) as error:
        raise StoreError(
            f"{path / _MANIFEST}: does not describe tables ({short(error)}); save them anew"
        ) from error
    arrays = {name: _read_array(path / f"{name}.npy", entry, mmap, verify) for name, entry in entries.items()}
    try:
        named = {f"tables.{name}": array for name, array in arrays.items()}
        buffered = {name: array if name in SHARED else array[np.newaxis] for name, array in named.items()}
        n_rows = len(arrays["codes"]) if "codes" in arrays else 0
        check_shapes(buffered, spec, n_rows, policy, buffers=1)
        if verify:
            check_contents(buffered, spec, n_rows, 0, policy)
    except StoreError as error:
        raise StoreError(
            f"{path / _MANIFEST}: does not describe tables ({short(error)}); save them anew"
        ) from None
    return buffered, spec, manifest


def _entry(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a manifest says of an array; KeyError or TypeError where it does not."""
    return {name: given[name] for name in ("shape", "dtype", "n_bytes", "crc32")}


def _is_ours(path: Path) -> bool:
    try:
        _read_manifest(path)
    except StoreError:
        return path.is_dir() and not any(path.iterdir())
    return True


def _checksum(array: Array) -> int:
    return zlib.crc32(array.reshape(-1).view(np.uint8).data)


def _write_array(folder: Path, name: str, array: Array) -> dict[str, Any]:
    whole = np.ascontiguousarray(array)
    file = folder / f"{name}.npy"
    with open(file, "wb") as out:
        np.save(out, whole)
        out.flush()
        os.fsync(out.fileno())
    return {
        "shape": list(whole.shape),
        "dtype": whole.dtype.str,
        "n_bytes": file.stat().st_size,
        "crc32": _checksum(whole),
    }


def _write_synced(file: Path, content: bytes) -> None:
    with open(file, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _replace(temporary: Path, path: Path) -> None:
    """Put the finished folder in place.  Who has the old files mapped keeps them."""
    if path.exists():
        old = temporary.with_suffix(".old")
        os.rename(path, old)
        os.rename(temporary, path)
        shutil.rmtree(old)
    else:
        os.rename(temporary, path)


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / _MANIFEST
    try:
        manifest = read_json(file)
    except FileNotFoundError as error:
        raise StoreError(
            f"{path}: holds no tables ({_MANIFEST} is missing); name the folder saved"
        ) from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{file}: cannot be read ({short(error)}); save the tables anew") from error
    if manifest.get("format") != FORMAT:
        raise StoreError(f"{file}: is not of tables; name a folder that Tables.save wrote")
    if manifest.get("version") != VERSION:
        raise StoreError(
            f"{file}: of version {short(manifest.get('version'))}, this distlsh reads {VERSION}; "
            "save the tables anew"
        )
    return manifest


def _read_array(file: Path, entry: Mapping[str, Any], mmap: bool, verify: bool) -> Array:
    try:
        if file.stat().st_size != entry["n_bytes"]:
            raise StoreError(
                f"{file}: {file.stat().st_size} bytes, {entry['n_bytes']} were saved; save the tables anew"
            )
        array = load_npy(file, mmap=mmap)
    except (OSError, ValueError) as error:
        raise StoreError(f"{file}: cannot be read ({short(error)}); save the tables anew") from error
    if list(array.shape) != entry["shape"] or array.dtype.str != entry["dtype"]:
        raise StoreError(
            f"{file}: {array.dtype}{list(array.shape)} is not what was saved; save the tables anew"
        )
    if verify and _checksum(array) != entry["crc32"]:
        raise StoreError(f"{file}: damaged (its checksum differs); save the tables anew")
    return array
