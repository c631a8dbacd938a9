"""What this machine can do at best: copy memory, and multiply and add; on one core and on all at once."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from distlsh.kernels._ir import LANES, VALUES, fold_range, fused_multiply_add, splat
from distlsh.kernels._jit import intrinsic, kernel
from distlsh.kernels._types import f4, i8

_CHAINS = 12
"""Independent chains of multiply-adds: more than a core has under way, fewer than registers."""

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@intrinsic
def _multiply_adds(typingctx, rounds, factor):  # type: ignore[no-untyped-def]
    """Do ``rounds * _CHAINS * LANES`` multiply-adds in registers; return a sum that needs them all."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        by = splat(builder, args[1])
        starts = [ir.Constant(VALUES, [1.0 + i] * LANES) for i in range(_CHAINS)]
        ends = fold_range(
            builder, args[0], starts, lambda _, line: [fused_multiply_add(builder, x, by, by) for x in line]
        )
        total = ends[0]
        for end in ends[1:]:
            total = builder.fadd(total, end)
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return types.float32(types.int64, types.float32), codegen


@kernel(f4(i8, f4))
def multiply_adds(rounds, factor):  # type: ignore[no-untyped-def]
    """Do ``rounds * 12 * 16`` multiply-adds of float32, without touching memory."""
    return _multiply_adds(rounds, factor)


def _at_once(n: int, work: Callable[[int], None]) -> float:
    """Run ``work(i)`` in ``n`` threads that start together; return the most processor seconds of one."""
    barrier = threading.Barrier(n)
    taken = [0.0] * n

    def run(i: int) -> None:
        barrier.wait()
        start = time.thread_time()
        work(i)
        taken[i] = time.thread_time() - start

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(taken)


def copy_bandwidth(n_cores: int, n_bytes: int, repeats: int) -> float:
    """Return bytes read plus bytes written a second when ``n_cores`` copy ``n_bytes`` each, at once.

    The arrays lie beyond the caches, on huge pages where the system gives them.  The median of
    ``repeats`` passes.
    """
    arrays = [(np.ones(n_bytes // 4, np.float32), np.ones(n_bytes // 4, np.float32)) for _ in range(n_cores)]

    def copy(i: int) -> None:
        np.copyto(arrays[i][1], arrays[i][0])

    copy(0)
    taken = [_at_once(n_cores, copy) for _ in range(repeats)]
    return 2 * n_bytes * n_cores / statistics.median(taken)


def peak_multiply_adds(n_cores: int, seconds: float, repeats: int) -> float:
    """Return multiply-adds of float32 a second that ``n_cores`` do at once; the median of ``repeats``."""
    rounds = 1 << 20
    multiply_adds(rounds, 0.5)
    start = time.perf_counter()
    multiply_adds(rounds, 0.5)
    rounds = max(rounds, int(rounds * seconds / (time.perf_counter() - start)))
    taken = [_at_once(n_cores, lambda i: multiply_adds(rounds, 0.5)) for _ in range(repeats)]
    return rounds * _CHAINS * LANES * n_cores / statistics.median(taken)


def cache_bytes(n_sharing: int) -> int:
    """Return the bytes of second and third level that one of ``n_sharing`` busy cores can have."""
    sizes: dict[int, int] = {}
    for folder in _CACHES.glob("index*"):
        level = int((folder / "level").read_text())
        sizes[level] = max(sizes.get(level, 0), _bytes((folder / "size").read_text().strip()))
    return sizes.get(2, 1 << 20) + sizes.get(3, 0) // n_sharing


def _bytes(text: str) -> int:
    return int(text[:-1]) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[text[-1]]


def limits(n_cores: int, quick: bool) -> dict[str, Any]:
    """Return the machine's limits for one core and for ``n_cores`` at once."""
    size, repeats, seconds = (1 << 27, 5, 0.05) if quick else (1 << 28, 15, 0.3)
    found = []
    for n in sorted({1, n_cores}):
        found.append(
            {
                "cores": n,
                "copy_bytes_per_s": copy_bandwidth(n, size, repeats),
                "multiply_adds_per_s": peak_multiply_adds(n, seconds, repeats),
                "cache_bytes_per_core": cache_bytes(n),
            }
        )
    return {"limits": found}
