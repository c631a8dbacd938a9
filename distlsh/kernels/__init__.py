"""Compiled kernels: numba only, no Python objects, no processes."""

from __future__ import annotations

from distlsh.folders import cache_root, own_folder

# numba reads its cache by pickle: what others put there would be run.
own_folder(cache_root() / "kernels")
