"""One way to compile kernels, and a disk cache that is right after any edit.

Numba keys its cache on the file of the compiled function alone, so an edit to a
kernel that others call is missed.  The cache folder of a module here carries a digest
of its source, of the kernel modules that it imports, directly or not, and of the
compiler's versions: an edit recompiles what depends on it and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import config as numba_config

intrinsic: Any = numba.extending.intrinsic
"""Numba's own; typed Any because calls leave out the typing context that definitions take."""

overload: Any = numba.extending.overload

# No "nnan"/"ninf": a NaN in the weights must stay visible.
FASTMATH = {"reassoc", "contract", "arcp", "nsz"}


_FOLDER = Path(__file__).parent
_IMPORT = re.compile(r"^from distlsh\.kernels\.(\w+) import", re.MULTILINE)


@cache
def sources(path: Path) -> frozenset[Path]:
    """Return the files that a file's kernels are compiled from: itself and the kernel modules it imports."""
    found: set[Path] = set()
    waiting = {path, _FOLDER / "_jit.py"}
    while waiting:
        file = waiting.pop()
        found.add(file)
        waiting |= {_FOLDER / f"{name}.py" for name in _IMPORT.findall(file.read_text())} - found
    return frozenset(found)


@cache
def source_digest(path: Path) -> str:
    """Return a digest of all that a file's kernels are compiled from, and of the compilers' versions."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for file in sorted(sources(path)):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def cache_dir(path: Path) -> Path:
    """Return the folder of a file's compiled kernels, in ``$DISTLSH_CACHE`` or the user's cache."""
    root = os.environ.get("DISTLSH_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "distlsh"
    )
    checked = "-checked" if numba_config.BOUNDSCHECK else ""  # NUMBA_BOUNDSCHECK=1: other code, same source
    return Path(root) / "kernels" / f"{path.stem}-{source_digest(path)}{checked}"


def compiled_before() -> bool:
    """Tell whether the cache holds the training kernels: loading them takes a second, not a minute."""
    return any(cache_dir(_FOLDER / "output_layer.py").rglob("output_layer.output_step*.nbi"))


def kernel(*signatures: Any, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function without the GIL, with the explicit ``signatures`` given.

    Signatures refuse other dtypes and strided arrays with a TypeError; read-only
    array types refuse writes when compiling.  The compiled code is cached on disk.
    """
    settings: dict[str, Any] = {
        "nogil": True,
        "cache": True,
        "error_model": "numpy",
        "fastmath": FASTMATH,
        **options,
    }

    def compile_(function: Callable[..., Any]) -> Callable[..., Any]:
        before = numba_config.CACHE_DIR
        numba_config.CACHE_DIR = str(cache_dir(Path(function.__code__.co_filename)))
        try:
            compiled = numba.njit(list(signatures), **settings) if signatures else numba.njit(**settings)
            result: Callable[..., Any] = compiled(function)
        finally:
            numba_config.CACHE_DIR = before
        return result

    return compile_


def device_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that only kernels call: typed by its callers, cached with them."""
    compiled: Callable[..., Any] = numba.njit(nogil=True, error_model="numpy", fastmath=FASTMATH)(function)
    return compiled
