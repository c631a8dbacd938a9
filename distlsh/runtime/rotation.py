"""Files that grow with a run: kept to a size, the older part under another name."""

from __future__ import annotations

import os
from pathlib import Path

KEPT = 2
"""Older parts that are kept: ``<name>.1``, the younger, and ``<name>.2``."""


def rotate(path: Path) -> None:
    """Move ``path`` to ``path.1``, that to ``path.2``, and so on; the oldest goes."""
    for number in range(KEPT, 1, -1):
        _move(_numbered(path, number - 1), _numbered(path, number))
    _move(path, _numbered(path, 1))


def append_rotated(path: Path, text: str, most_bytes: int) -> None:
    """Add ``text`` to a file; before, a file of at least ``most_bytes`` is moved away."""
    data = text.encode()
    with path.open("ab") as file:
        if file.tell() == 0 or file.tell() + len(data) <= most_bytes:
            file.write(data)
            return
    rotate(path)
    with path.open("ab") as file:
        file.write(data)


def parts(path: Path) -> list[Path]:
    """Return a rotated file's parts that there are, the oldest first."""
    found = [_numbered(path, number) for number in range(KEPT, 0, -1)]
    return [part for part in [*found, path] if part.exists()]


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _move(old: Path, new: Path) -> None:
    try:
        os.replace(old, new)
    except FileNotFoundError:
        return
