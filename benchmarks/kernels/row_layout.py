"""Would a row's state be better off beside the row?  Adagrad's step over rows at random places, both ways.

    python benchmarks/kernels/row_layout.py [--quick]

Apart: weights f4[n, d] and sums of squares f4[n, d], as distlsh has them.  Together: f4[n, 2 d], a row's
weights and then its sums.  In turns, on one core, in huge pages where the system gives them; medians of
microseconds a row.  Writes benchmarks/results/row_layout.json and .svg.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

sys.path.insert(0, str(Path(__file__).parents[1]))
from results import write

from distlsh.kernels.prefetch import prefetch_row

GIB = 1 << 30


@njit(fastmath=True)
def apart(w, s, rows, x, lr):
    for k in range(len(rows)):
        if k + 2 < len(rows):
            prefetch_row(w, rows[k + 2])
            prefetch_row(s, rows[k + 2])
        row = rows[k]
        for j in range(w.shape[1]):
            g = x[j]
            total = s[row, j] + g * g
            s[row, j] = total
            w[row, j] -= lr * g / math.sqrt(total)


@njit(fastmath=True)
def together(both, rows, x, lr):
    d = both.shape[1] // 2
    for k in range(len(rows)):
        if k + 2 < len(rows):
            prefetch_row(both, rows[k + 2])
        row = rows[k]
        for j in range(d):
            g = x[j]
            total = both[row, d + j] + g * g
            both[row, d + j] = total
            both[row, j] -= lr * g / math.sqrt(total)


def measure(width: int, n_bytes: int, repeat: int) -> dict[str, float]:
    """Return microseconds a row of each layout."""
    n = n_bytes // (8 * width)
    w, s, both = (np.ones((n, columns), np.float32) for columns in (width, width, 2 * width))
    x, lr = np.full(width, 1e-3, np.float32), np.float32(1e-3)
    rng, taken = np.random.default_rng(1), {"apart": [], "together": []}
    for i in range(2 * repeat + 2):
        rows = rng.integers(0, n, max(1, (64 << 20) // (8 * width)))
        for name in ("apart", "together") if i % 2 else ("together", "apart"):
            start = time.perf_counter()
            if name == "apart":
                apart(w, s, rows, x, lr)
            else:
                together(both, rows, x, lr)
            if i >= 2:
                taken[name].append(1e6 * (time.perf_counter() - start) / len(rows))
    return {name: statistics.median(some) for name, some in taken.items()}


def figure(found: dict[str, dict[str, float]]) -> Any:
    """Draw each width's two bars."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6, 2.6), layout="constrained")
    axis = drawn.subplots()
    for k, name in enumerate(("apart", "together")):
        places = [i + 0.4 * k for i in range(len(found))]
        bars = axis.barh(places, [one[name] for one in found.values()], 0.38, label=name)
        axis.bar_label(bars, fmt="%.3f", padding=3)
    axis.set(
        xlabel="microseconds a row", yticks=[i + 0.2 for i in range(len(found))], yticklabels=list(found)
    )
    axis.legend()
    axis.margins(x=0.15)
    return drawn


def main() -> None:
    look = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=look)
    parser.add_argument("--quick", action="store_true", help="small arrays: a look, no result")
    args = parser.parse_args()
    n_bytes, repeat = (GIB // 8, 2) if args.quick else (2 * GIB, 7)
    found = {f"{width} wide": measure(width, n_bytes, repeat) for width in (128, 256, 1024)}
    for name, one in found.items():
        print(f"{name:10} apart {one['apart']:.3f} us, together {one['together']:.3f} us a row")
    write("row_layout", {"bytes": n_bytes, "us_per_row": found}, figure(found))


if __name__ == "__main__":
    main()
