"""Where the time of the pretraining goes: processor time of each kernel and product, one thread.

    python benchmarks/kernels/pretraining.py [--data FOLDER] [--width 1024] [--pool 65536] [--quick]

On generated instances of enwiki-para's shape, two a label; with ``--data`` on those of FOLDER's
enwiki-para.train.txt.gz.  Writes benchmarks/results/pretraining.json and .svg.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in a worker

import numpy as np
from step_phases import PowerLaw, read_enwiki

sys.path.insert(0, str(Path(__file__).parents[1]))
from results import write

from distlsh.config.schema import PretrainConfig, TrainConfig
from distlsh.kernels.initialise import gaussian_rows
from distlsh.model import pretrain
from distlsh.model.network import Network
from distlsh.model.spec import NetworkSpec, parameter_specs

PHASES = {
    "alike instances": ("alike_groups",),
    "partners": ("choose_labels", "choose_partners", "join_instances"),
    "forward": ("input_forward", "normalize_forward"),
    "products": ("dot",),
    "loss": ("contrastive_gradient",),
    "backward + optimiser": ("normalize_backward", "group_by_feature", "step_features"),
}


class Clock:
    """Adds up the processor time of the functions it wraps."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` with its time added under ``name``."""

        def run(*args: Any, **named: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*args, **named)
            finally:
                self.seconds[name] += time.thread_time() - start

        return run


class TimedNumpy:
    """NumPy, but for `dot`, which is timed: for the module that pretrains."""

    def __init__(self, clock: Clock) -> None:
        self.dot = clock.timed("products", np.dot)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def time_batches(args: argparse.Namespace, data: Any) -> dict[str, Any]:
    """Return the median seconds an instance of each phase, and of all."""
    clock = Clock()
    for phase, names in PHASES.items():
        for name in names:
            if hasattr(pretrain, name):
                setattr(pretrain, name, clock.timed(phase, getattr(pretrain, name)))
    pretrain.np = TimedNumpy(clock)  # type: ignore[attr-defined]
    spec = NetworkSpec(data.n_features, (args.width,), data.n_labels, "linear", True, optimizer="adagrad")
    # Output rows stay untouched, so the system gives no memory for them.
    network = Network(spec, {one.name: np.zeros(one.shape, one.dtype) for one in parameter_specs(spec)})
    layer = network.layers[0]
    gaussian_rows(layer.weights, 0, data.n_features, args.width**-0.5, 1)
    layer.views[1][:] = 0.01
    step = pretrain.PretrainStep(
        network, data, PretrainConfig(batch_size=args.batch, pool=args.pool), TrainConfig()
    )
    network.hidden = clock.timed("alike instances", network.hidden)  # type: ignore[method-assign]
    order = np.random.default_rng(1).permutation(data.n_rows)
    size = max(args.pool, 8 * args.batch)
    found = defaultdict(list)
    for i in range(args.ranges + 1):
        clock.seconds.clear()
        step.counters[:] = 0
        start = time.thread_time()
        step.run(order[i * size : (i + 1) * size], i * size, 0.01)
        whole = time.thread_time() - start
        if i:
            n = float(step.counters[pretrain.Counter.PRETRAINED])
            parts = dict(clock.seconds)
            for name, seconds in {**parts, "rest": whole - sum(parts.values()), "all": whole}.items():
                found[name].append(seconds / n)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def figure(seconds: dict[str, float]) -> Any:
    """Draw the phases' microseconds an instance."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6, 2.4), layout="constrained")
    axis = drawn.subplots()
    shown = {name: 1e6 * value for name, value in seconds.items() if name != "all"}
    bars = axis.barh(list(shown), list(shown.values()))
    axis.bar_label(bars, fmt="%.1f", padding=3)
    axis.set(xlabel="microseconds an instance, one core")
    axis.invert_yaxis()
    axis.margins(x=0.12)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache-dir", default="/tmp/distlsh-roofline", help="of the parsed data")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--pool", type=int, default=65_536, help="0: random batches")
    parser.add_argument("--ranges", type=int, default=3, help="timed, of a pool of instances each")
    parser.add_argument("--quick", action="store_true", help="a small pool and a narrow network")
    args = parser.parse_args()
    if args.quick:
        args.width, args.pool, args.ranges = 64, 8192, 1
    seconds = time_batches(args, instances(args))
    for name, value in seconds.items():
        print(f"{name:22} {1e6 * value:8.1f} us")
    print(f"{1 / seconds['all']:,.0f} samples/s a core")
    settings = {"width": args.width, "batch": args.batch, "pool": args.pool, "data": bool(args.data)}
    write("pretraining", {**settings, "seconds_an_instance": seconds}, figure(seconds))


def instances(args: argparse.Namespace) -> Any:
    """Return enwiki-para's instances, or generated ones of their shape."""
    if args.data is None:
        return PowerLaw(300_000, 95_070, 150_000, 32)
    return read_enwiki(args.data, args.cache_dir, [])[1]


if __name__ == "__main__":
    main()
