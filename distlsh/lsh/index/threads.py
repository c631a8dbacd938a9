"""Spread work over the cores of this process; kernels run without the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from typing import Any

from distlsh.errors import UsageError


def n_threads(n_jobs: int | None) -> int:
    """Return how many threads ``n_jobs`` asks for: None or -1 means one for each core."""
    if n_jobs is None or n_jobs == -1:
        return len(os.sched_getaffinity(0))
    if not isinstance(n_jobs, Integral) or n_jobs < 1:
        raise UsageError(f"n_jobs is {n_jobs!r}; give a number of threads, or None or -1 for one a core")
    return int(n_jobs)


def over(work: Callable[..., Any], parts: Iterable[tuple[Any, ...]], threads: int) -> None:
    """Call ``work(*part)`` for each part, each as soon as a thread is free; raise the first error."""
    waiting = list(parts)
    if threads < 2 or len(waiting) < 2:
        for part in waiting:
            work(*part)
        return
    pool = ThreadPoolExecutor(min(threads, len(waiting)), "distlsh-index")
    try:
        for done in [pool.submit(work, *part) for part in waiting]:
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def blocks(n: int, size: int) -> list[tuple[int, int]]:
    """Return the ends of blocks of ``size`` that cover [0, n)."""
    return [(first, min(first + size, n)) for first in range(0, n, size)]
