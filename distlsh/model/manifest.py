"""What a checkpoint's ``manifest.json`` says: read with distrust, since anyone may have written it."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from distlsh._version import __version__
from distlsh.constants import CHECKPOINT_VERSION
from distlsh.errors import CheckpointError
from distlsh.files import parse_json, read_text, short

MANIFEST = "manifest.json"

_LARGEST_BYTES = 32 << 20
"""Of which chunks that are left take most; as objects that is some 20 times as much."""

_ADVICE = "restore it, or use another checkpoint"

Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class OtherVersion(CheckpointError):
    """The checkpoint is whole, as far as one can tell, but of a version that this distlsh does not read."""


class Entry(msgspec.Struct, frozen=True):
    """What is known of an array's file."""

    file: str
    shape: list[Size]
    dtype: str
    n_bytes: Size
    crc32: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a checkpoint."""

    version: int
    sequence: int  # counts the checkpoints of a run
    arrays: dict[str, Entry]
    state: dict[str, Any]
    distlsh: str = ""  # version of the program that wrote it


def is_file_name(name: str) -> bool:
    """Tell whether a name can be that of a file in a checkpoint's folder, and of no other."""
    return bool(name) and not name.startswith(".") and "/" not in name and "\0" not in name


def write_manifest(folder: Path, sequence: int, arrays: dict[str, Entry], state: dict[str, Any]) -> None:
    """Write the manifest with its own checksum, and sync it."""
    content = {
        "version": CHECKPOINT_VERSION,
        "distlsh": __version__,
        "sequence": sequence,
        "arrays": {name: msgspec.to_builtins(entry) for name, entry in arrays.items()},
        "state": state,
    }
    text = json.dumps(content, default=_plain)
    whole = f'{{"crc32": {zlib.crc32(text.encode())}, "content":\n{text}\n}}\n'
    if len(whole) > _LARGEST_BYTES:  # all of it is ASCII
        raise CheckpointError(f"a manifest of {len(whole):,} bytes, {_LARGEST_BYTES:,} at most")
    with open(folder / MANIFEST, "w", encoding="utf-8") as file:
        file.write(whole)
        file.flush()
        os.fsync(file.fileno())


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise CheckpointError(f"a checkpoint's state holds JSON values, not {type(value).__name__}")


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of the checkpoint ``path``.

    Raises CheckpointError if it is missing, damaged or no manifest; OtherVersion for another version.
    """
    file = path / MANIFEST
    try:
        head, _, rest = read_text(file, _LARGEST_BYTES).partition('"content":\n')
        text = rest.removesuffix("\n}\n")
        crc = int(head.removeprefix('{"crc32": ').rstrip(", "))
    except FileNotFoundError:
        raise CheckpointError(f"{file}: missing; {_ADVICE}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read ({short(error)}); {_ADVICE}") from error
    if zlib.crc32(text.encode()) != crc:
        raise CheckpointError(f"{file}: damaged, its checksum differs; {_ADVICE}")
    try:
        return _checked(file, parse_json(text))
    except ValueError as error:  # msgspec's too
        raise CheckpointError(f"{file}: does not describe a checkpoint ({short(error)}); {_ADVICE}") from None


def _checked(file: Path, content: dict[str, Any]) -> Manifest:
    version = content.get("version")
    if isinstance(version, int) and version != CHECKPOINT_VERSION:
        writer = content.get("distlsh")
        newer = version > CHECKPOINT_VERSION
        raise OtherVersion(
            f"{file}: a checkpoint of format {version}"
            + (f", written by distlsh {str(writer)[:40]}" if writer else "")
            + f"; this is distlsh {__version__}, which reads format {CHECKPOINT_VERSION}: "
            + (
                f"upgrade distlsh{f' to {str(writer)[:40]}' if writer else ''}"
                if newer
                else "use an older distlsh"
            )
            + " to go on with it, or name an older checkpoint, or start a new run"
        )
    manifest = msgspec.convert(content, Manifest)
    for name, entry in manifest.arrays.items():
        if entry.file != f"{name}.npy" or not is_file_name(name):
            raise ValueError(f"array {name!r} in file {entry.file!r}")
    return manifest
