"""What the cores give together, over what one gives alone: no training can scale better.

    python benchmarks/kernels/cores.py [--seconds 1] [--repeat 5] [--quick]

A process a core, pinned, first one alone, then all at once, in turns: multiply-adds that stay in
registers, rows of 4 KiB read at random, and copies of an array beyond all caches.  Two processors
that are threads of one physical core show it in the multiply-adds, whatever the kernel says of them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import multiprocess
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from results import write

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import F4_1, F4_2R, I8_1R, f4, i8
from distlsh.runtime.placement import worker_order
from distlsh.runtime.topology import usable_cpus

KINDS = ("multiply-adds", "random rows", "copy")
_ROWS, _WIDTH, _READS = 1 << 16, 1024, 4096


@kernel(f4(F4_1, i8), cache=False)
def _multiply_adds(values, n):  # type: ignore[no-untyped-def]
    # 128 sums: enough in flight to hide the latency of one.
    for _ in range(n):
        for j in range(values.shape[0]):
            values[j] = values[j] * f4(0.999) + f4(0.001)
    return values[0]


@kernel(f4(F4_2R, I8_1R), cache=False)
def _read_rows(rows, ids):  # type: ignore[no-untyped-def]
    total = f4(0.0)
    for i in range(ids.shape[0]):
        for j in range(rows.shape[1]):
            total += rows[ids[i], j]
    return total


def _rate(kind: str, cpu: int, seconds: float, barrier: Any, out: Any) -> None:
    os.sched_setaffinity(0, {cpu})
    rows = np.ones((_ROWS if kind != "multiply-adds" else 2, _WIDTH), np.float32)
    values, ids = np.ones(128, np.float32), np.random.default_rng(cpu).integers(0, len(rows), _READS)
    half = len(rows) // 2
    work = {
        "multiply-adds": lambda: _multiply_adds(values, 100_000),
        "random rows": lambda: _read_rows(rows, ids),
        "copy": lambda: np.copyto(rows[:half], rows[half:]),
    }[kind]
    work()
    barrier.wait()
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        work()
        done += 1
    out.put(done / (time.perf_counter() - started))


def _together(kind: str, cpus: list[int], seconds: float) -> float:
    """Return the sum of the rates of a process on each of ``cpus``."""
    context = multiprocess.get_context("fork")
    barrier, out = context.Barrier(len(cpus)), context.Queue()
    processes = [context.Process(target=_rate, args=(kind, cpu, seconds, barrier, out)) for cpu in cpus]
    for process in processes:
        process.start()
    rates = [out.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    return float(sum(rates))


def main() -> None:
    """Print, and write to benchmarks/results/cores.json, the medians of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="shorter, and nothing is written")
    args = parser.parse_args()
    seconds, repeat = (0.2, 2) if args.quick else (args.seconds, args.repeat)
    cpus = [cpu.id for cpu in worker_order(usable_cpus())]
    ratios = {}
    for kind in KINDS:
        found = [_together(kind, cpus, seconds) / _together(kind, cpus[:1], seconds) for _ in range(repeat)]
        ratios[kind] = {"median": round(median(found), 3), "all": [round(one, 3) for one in found]}
        print(f"{kind:<14} {len(cpus)} cores give {ratios[kind]['median']:.2f} times one")
    if not args.quick:
        write("cores", {"cpus": len(cpus), "seconds": seconds, "ratios": ratios})


if __name__ == "__main__":
    main()
