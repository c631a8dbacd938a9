"""What huge pages under the arena are worth: making it, mapping it again, reading rows at random.

    python benchmarks/kernels/pages.py [--gib 2] [--width 1024] [--quick]

Each measure alternates between an arena of huge pages (MADV_COLLAPSE) and one of small pages.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from results import write

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import F4_2R, I8_1R, f4
from distlsh.kernels.prefetch import prefetch_row
from distlsh.shm.arena import Arena
from distlsh.shm.names import new_run_id
from distlsh.shm.spec import ArraySpec


@kernel(f4(F4_2R, I8_1R), cache=False)
def _sum_rows(rows, ids):  # type: ignore[no-untyped-def]
    total = f4(0.0)
    for i in range(ids.shape[0]):
        prefetch_row(rows, ids[min(i + 2, ids.shape[0] - 1)])
        for j in range(rows.shape[1]):
            total += rows[ids[i], j]
    return total


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _measure(huge: bool, n_rows: int, width: int, n_reads: int) -> dict[str, float]:
    specs = [ArraySpec("rows", (n_rows, width), "f4")]
    name = new_run_id()
    small = mock.patch("distlsh.shm.pages.collapse", return_value=False)
    with nullcontext() if huge else small:
        started = time.perf_counter()
        arena = Arena.create(name, specs)
        create_s = time.perf_counter() - started
    try:
        first_s = _seconds(lambda: arena["rows"].fill(1.0))
        again = Arena.attach(name, specs)
        map_s = _seconds(lambda: again["rows"].fill(1.0))
        ids = np.random.default_rng(1).integers(0, n_rows, n_reads)
        _sum_rows(again["rows"], ids[:100])
        read_s = _seconds(lambda: _sum_rows(again["rows"], ids))
    finally:
        arena.unlink()
    return {"create_s": create_s, "first_fill_s": first_s, "second_process_fill_s": map_s, "read_s": read_s}


def main() -> None:
    """Print, and write to benchmarks/results/pages.json, the medians of both sides."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--width", type=int, default=1024, help="of a row")
    parser.add_argument("--reads", type=int, default=400_000, help="rows read at random")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    gib, repeat = (0.25, 2) if args.quick else (args.gib, args.repeat)
    n_rows = int(gib * 2**30 / (4 * args.width))
    runs = [
        (huge, _measure(huge, n_rows, args.width, args.reads))
        for _ in range(repeat)
        for huge in (True, False)
    ]
    figures = {}
    for huge, name in ((True, "huge"), (False, "small")):
        mine = [one for side, one in runs if side is huge]
        figures[name] = {key: round(median(one[key] for one in mine), 4) for key in mine[0]}
        print(f"{name:<6}", "  ".join(f"{key} {value:.3f}" for key, value in figures[name].items()))
    if not args.quick:
        write("pages", {"gib": gib, "width": args.width, "reads": args.reads, "repeat": repeat, **figures})


if __name__ == "__main__":
    main()
