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


def in_blocks(
    n_rows: int,
    work: Callable[[int, int], None],
    n_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    block: int | None = None,
) -> None:
    """Call ``work(first, last)`` for blocks of at most ``ROW_BLOCK`` rows that cover all.

    n_threads  default: a thread for each core.  With several blocks each thread runs a
               BLAS of one thread, so that the cores do not wait for one another at every
               product; a single block leaves BLAS its threads
    progress   called with (rows done, rows) in the calling thread as blocks end, in their order
    block      rows of a block; default: a share of each thread, within reason

    The first exception is raised, after blocks begun have ended; no others begin.
    """
    n_threads = n_threads or n_cores()
    block = block or min(ROW_BLOCK, max(_MIN_BLOCK, -(-n_rows // n_threads)))
    ranges = [(first, min(first + block, n_rows)) for first in range(0, n_rows, block)]
    if len(ranges) < 2 or n_threads < 2:
        for first, last in ranges:
            work(first, last)
            _tell(progress, last, n_rows)
        return
    pool = ThreadPoolExecutor(min(n_threads, len(ranges)), "distlsh")
    with threadpool_limits(1, user_api="blas"):
        try:
            waiting = [pool.submit(work, *ends) for ends in ranges]
            for (_, last), done in zip(ranges, waiting, strict=True):
                done.result()
                _tell(progress, last, n_rows)
        finally:
            pool.shutdown(cancel_futures=True)


def _tell(progress: Callable[[int, int], None] | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
