"""Reading of JSON and ``.npy`` files that anyone may have written.

Nothing that such a file says sizes an allocation beyond what it holds, and whatever it holds,
these functions return or raise OSError or ValueError: callers make an error of their own of it.
"""

from __future__ import annotations

import io
import json
import math
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

JSON_BYTES = 1 << 20
"""Largest JSON file that is read unless a caller allows more: objects take some 20 times its bytes."""

_MOST_DIMS = 32
_SHOWN = 200
_ALIGNED = 16
"""Where numbers may begin in a file, so that a map of it can be computed with."""


def short(found: object, most: int = _SHOWN) -> str:
    """Return what was found as messages show it: in one line, the beginning of a long text."""
    text = str(found)
    text = text if len(text) <= most else text[: most - 3] + "..."
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def open_plain(path: Path, *, follow: bool = True) -> io.BufferedReader:
    """Open a plain file to read its bytes; OSError, or ValueError for a pipe, socket, device or folder.

    follow  a link; else it is an OSError
    """
    # A pipe without a writer would otherwise make whoever opens it wait for ever.
    links = 0 if follow else os.O_NOFOLLOW
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | links)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("no plain file, but a pipe, socket, device or folder")
    return open(descriptor, "rb")


def read_text(path: Path, limit: int = JSON_BYTES) -> str:
    """Return the UTF-8 text of a file of at most ``limit`` bytes; OSError or ValueError."""
    with open_plain(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"more than {limit:,} bytes")
    return data.decode("utf-8")


def read_json(path: Path, limit: int = JSON_BYTES) -> dict[str, Any]:
    """Return the JSON object in a file of at most ``limit`` bytes; OSError or ValueError."""
    return parse_json(read_text(path, limit))


def parse_json(text: str) -> dict[str, Any]:
    """Return the JSON object in ``text``; ValueError if it is none."""
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def load_npy(path: Path, *, mmap: bool) -> NDArray[Any]:
    """Return the array of an ``.npy`` file in C order, whose size must be what its header says.

    mmap  map the file read-only instead of reading it

    Raises OSError, or ValueError for anything else than such an array of numbers.
    """
    with open_plain(path) as file:
        shape, dtype = _header(file)
        start = file.tell()
        wanted = math.prod(shape) * dtype.itemsize
        held = os.fstat(file.fileno()).st_size - start
        if start % _ALIGNED:
            raise ValueError(f"its numbers begin at byte {start}, where they cannot be mapped")
        if held != wanted:
            raise ValueError(f"holds {held:,} bytes, its header says {dtype}{list(shape)}, {wanted:,}")
        if wanted == 0:
            return np.zeros(shape, dtype)
        if mmap:
            return np.asarray(np.memmap(file, dtype, "r", start, shape))
        return np.fromfile(file, dtype).reshape(shape)


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype; the header's text is Python's, which a hostile one can break in many ways."""
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"not an .npy file ({type(error).__name__}: {str(error)[:80]})") from None
    sizes = all(type(n) is int and 0 <= n < 1 << 62 for n in shape)
    if fortran or dtype.kind not in "biuf" or not sizes or len(shape) > _MOST_DIMS:
        raise ValueError(f"{dtype}{list(shape)}, not numbers in C order")
    return shape, dtype
