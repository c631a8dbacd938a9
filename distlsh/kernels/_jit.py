"""One way to compile kernels, and a disk cache that is right after any edit.

Numba keys its cache on the file of the compiled function alone, so an edit to a
kernel that others call is missed.  The cache folder here carries a digest of all
kernel sources and of the compiler's versions instead.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import config as numba_config

intrinsic: Any = numba.extending.intrinsic
"""Numba's own; typed Any because calls leave out the typing context that definitions take."""

# No "nnan"/"ninf": a NaN in the weights must stay visible.
FASTMATH = {"reassoc", "contract", "arcp", "nsz"}


def source_digest() -> str:
    """Return a digest of every kernel source and of the compilers' versions."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_dir() -> Path:
    """Return the folder of compiled kernels: ``$DISTLSH_CACHE`` or the user's cache."""
    root = os.environ.get("DISTLSH_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "distlsh"
    )
    return Path(root) / "kernels" / source_digest()


_CACHE_DIR = cache_dir()


def compiled_before() -> bool:
    """Tell whether the cache holds these kernels: loading them takes a second, not a minute."""
    return any(_CACHE_DIR.rglob("output_layer.output_step*.nbi"))


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
        numba_config.CACHE_DIR = str(_CACHE_DIR)
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
