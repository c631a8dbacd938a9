"""Blocks of rows over the cores of one process."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from distlsh.constants import ROW_BLOCK

_MIN_BLOCK = 64
"""Fewer rows would not repay that each block reads all weights."""


def n_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def in_blocks(n_rows: int, work: Callable[[int, int], None], n_threads: int | None = None) -> None:
    """Call ``work(first, last)`` for blocks of at most ``ROW_BLOCK`` rows that cover all.

    n_threads  default: a thread for each core.  With several blocks each thread runs a
               BLAS of one thread, so that the cores do not wait for one another at every
               product; a single block leaves BLAS its threads.

    The first exception is raised, after blocks begun have ended; no others begin.
    """
    n_threads = n_threads or n_cores()
    block = min(ROW_BLOCK, max(_MIN_BLOCK, -(-n_rows // n_threads)))
    ranges = [(first, min(first + block, n_rows)) for first in range(0, n_rows, block)]
    if len(ranges) < 2 or n_threads < 2:
        for first, last in ranges:
            work(first, last)
        return
    pool = ThreadPoolExecutor(min(n_threads, len(ranges)), "distlsh")
    with threadpool_limits(1, user_api="blas"):
        try:
            for done in [pool.submit(work, *ends) for ends in ranges]:
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)
