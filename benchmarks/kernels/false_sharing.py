"""Whether workers slow each other by writing to the same cache lines: marks, counters, slots.

    python benchmarks/kernels/false_sharing.py [--workers 2] [--steps 200] [--repeat 7] [--quick]

Workers (processes on one arena, pinned) run the real training step on rows of their own, so that no
row is shared: what is left to share are lines.  Sides, in turns:

    alone    one worker: what a step costs without anyone else
    far      each worker's rows in a range of its own: dirty marks are megabytes apart
    near     rows alternate between workers: every line of 64 dirty marks is written by all
    packed   as far, but the workers' counters lie in the same lines, which they never do in a run:
             what sharing a line costs that every sample writes

`near` over `far` is the cost of shared lines of marks; `far` over `alone` that of sharing memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import multiprocess
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from results import write

from distlsh.config.schema import TrainConfig
from distlsh.model.counters import N_COUNTERS
from distlsh.model.initialise import initialise
from distlsh.model.network import Network
from distlsh.model.spec import NetworkSpec, parameter_specs
from distlsh.model.step import TrainStep
from distlsh.runtime.placement import worker_order
from distlsh.runtime.topology import usable_cpus
from distlsh.shm.arena import Arena
from distlsh.shm.names import new_run_id
from distlsh.shm.spec import ArraySpec

SIDES = ("alone", "far", "near", "packed")
_BATCH, _ACTIVE, _NONZEROS = 32, 256, 16


@dataclass(frozen=True)
class Sizes:
    """Of the network that is trained."""

    n_labels: int = 200_000
    n_features: int = 50_000
    width: int = 128
    n_rows: int = 4096

    @property
    def spec(self) -> NetworkSpec:
        """The network."""
        return NetworkSpec(
            self.n_features, (self.width,), self.n_labels, optimizer="adagrad", adagrad_init=0.01
        )


class OwnRows:
    """Instances with features and labels of one worker's own, and what chooses its active outputs."""

    def __init__(self, sizes: Sizes, side: str, worker: int, workers: int) -> None:
        rng = np.random.default_rng((worker, SIDES.index(side)))
        self.n_rows, self.n_features, self.n_labels = sizes.n_rows, sizes.n_features, sizes.n_labels
        share = sizes.n_labels // workers
        own = np.arange(share, dtype=np.int32)
        self.own = own * workers + worker if side == "near" else own + worker * share
        features = sizes.n_features // workers
        n = sizes.n_rows * _NONZEROS
        self.indptr = np.arange(sizes.n_rows + 1, dtype=np.int64) * _NONZEROS
        self.indices = (rng.integers(0, features, n) + worker * features).astype(np.int32)
        self.values = rng.random(n, dtype=np.float32)
        self.label_indptr = np.arange(sizes.n_rows + 1, dtype=np.int64)
        self.labels = rng.choice(self.own, sizes.n_rows).astype(np.int32)
        self._order = rng.permutation(self.own).astype(np.int32)

    def select_batch(self, hidden: Any, rows: Any, seeds: Any, active: Any, bounds: Any) -> None:
        """Take the label and a stretch of the shuffled own outputs."""
        starts = seeds % np.uint64(len(self._order) - _ACTIVE)
        for i, row in enumerate(rows):
            label, start = self.labels[row], int(starts[i])
            chosen = self._order[start : start + _ACTIVE]
            others = chosen[chosen != label][: _ACTIVE - 1]
            active[i, 0], active[i, 1 : 1 + len(others)] = label, others
            bounds[i] = 1, 1 + len(others), 1 + len(others)


def _specs(sizes: Sizes, workers: int) -> list[ArraySpec]:
    counters = [
        ArraySpec("counters", (workers, N_COUNTERS), "f8"),
        ArraySpec("packed", (workers + N_COUNTERS,), "f8"),
    ]
    return [*parameter_specs(sizes.spec), *counters, ArraySpec("go", (workers,), "i8")]


def _work(
    name: str, sizes: Sizes, side: str, worker: int, workers: int, ranges: int, cpu: int, steps: int, out: Any
) -> None:
    os.sched_setaffinity(0, {cpu})
    arena = Arena.attach(name, _specs(sizes, workers))
    data = OwnRows(sizes, side, worker, ranges)
    train = TrainConfig(batch_size=_BATCH, skip_below=0.0)
    counters = (
        arena["packed"][worker : worker + N_COUNTERS] if side == "packed" else arena["counters"][worker]
    )
    network = Network(sizes.spec, arena)
    step = TrainStep(network, data, train, n_active=_ACTIVE, selector=data, counters=counters)
    rows = np.random.default_rng(worker).integers(0, sizes.n_rows, (steps + 5, _BATCH))
    for i in range(5):
        step.run(rows[i], i * _BATCH, 0.01, 0.01)
    arena["go"][worker] = 1
    while arena["go"][:].sum() < workers:
        time.sleep(0.0001)
    started = time.thread_time()  # a line that another core holds is waited for on the core
    for i in range(5, steps + 5):
        step.run(rows[i], i * _BATCH, 0.01, 0.01)
    out.put((time.thread_time() - started) / steps)


def _side(sizes: Sizes, side: str, workers: int, steps: int) -> float:
    """Return the mean seconds of a core that a step takes, over the workers."""
    n = 1 if side == "alone" else workers
    cpus = [cpu.id for cpu in worker_order(usable_cpus())]
    arena = Arena.create(new_run_id(), _specs(sizes, n))
    try:
        initialise(Network(sizes.spec, arena), 1)
        context = multiprocess.get_context("fork")
        out = context.Queue()
        args = [(arena.name, sizes, side, i, n, workers, cpus[i % len(cpus)], steps, out) for i in range(n)]
        processes = [context.Process(target=_work, args=one) for one in args]
        for process in processes:
            process.start()
        found = [out.get(timeout=600) for _ in processes]
        for process in processes:
            process.join()
    finally:
        arena.unlink()
        arena.close()
    return float(np.mean(found))


def main() -> None:
    """Print, and write to benchmarks/results/false_sharing.json, the medians of all sides."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="smaller, and nothing is written")
    args = parser.parse_args()
    sizes = Sizes(n_labels=20_000, n_features=5_000) if args.quick else Sizes()
    repeat, steps = (2, 20) if args.quick else (args.repeat, args.steps)
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(repeat):
        for side in SIDES:
            times[side].append(_side(sizes, side, args.workers, steps))
    step_ms = {side: round(1000 * median(found), 4) for side, found in times.items()}
    ratios = {
        "far_over_alone": step_ms["far"] / step_ms["alone"],
        "near_over_far": step_ms["near"] / step_ms["far"],
        "packed_over_far": step_ms["packed"] / step_ms["far"],
    }
    for name, value in {**step_ms, **ratios}.items():
        print(f"{name:<16} {value:.3f}{' ms a step' if name in SIDES else ''}")
    if not args.quick:
        figures = {"step_ms": step_ms, **{name: round(value, 4) for name, value in ratios.items()}}
        write("false_sharing", {"workers": args.workers, "steps": steps, "repeat": repeat, **figures})


if __name__ == "__main__":
    main()
