"""Time the model's kernels and whole training steps, on rows at random in arrays beyond all caches.

    python benchmarks/kernels/model.py [--labels N] [--features N] [--width D] [--active A]
                                       [--optimizer NAME] [--skip-below TAU] [--batch M]

Bytes are those of rows read and written, states included; a figure near the machine's copy
bandwidth of one core means that only fewer bytes would be faster.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from distlsh.config.schema import TrainConfig
from distlsh.kernels.hidden_layer import normalize_forward
from distlsh.kernels.input_layer import input_backward, input_forward
from distlsh.kernels.output_layer import output_step
from distlsh.model.counters import Counter
from distlsh.model.initialise import initialise, warm_start_add
from distlsh.model.network import Network
from distlsh.model.spec import NetworkSpec, parameter_specs
from distlsh.model.step import TrainStep


@dataclass
class RandomInstances:
    """Instances of ``n_nonzeros`` power-law features and one uniformly drawn label."""

    n_rows: int
    n_features: int
    n_labels: int
    n_nonzeros: int = 32

    def __post_init__(self) -> None:
        rng = np.random.default_rng(1)
        n = self.n_rows * self.n_nonzeros
        self.indptr = np.arange(self.n_rows + 1, dtype=np.int64) * self.n_nonzeros
        self.indices = (self.n_features * rng.random(n) ** 2.5).astype(np.int32)
        self.values = rng.random(n, dtype=np.float32)
        self.label_indptr = np.arange(self.n_rows + 1, dtype=np.int64)
        self.labels = rng.integers(0, self.n_labels, self.n_rows, dtype=np.int32)


class RandomSelector:
    """The label and ``n_active - 1`` neurons from a shuffled list, at a random place: costs nothing."""

    def __init__(self, data: RandomInstances, n_active: int) -> None:
        self.data, self.n_active = data, n_active
        self.order = np.random.default_rng(2).permutation(data.n_labels).astype(np.int32)

    def select_batch(self, hidden: Any, rows: Any, seeds: Any, active: Any, bounds: Any) -> None:
        starts = seeds % np.uint64(self.data.n_labels - self.n_active)
        for i, row in enumerate(rows):
            start = int(starts[i])
            active[i, 1 : self.n_active] = self.order[start + 1 : start + self.n_active]
            active[i, 0] = self.data.labels[row]
        bounds[:] = (1, self.n_active, self.n_active)


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the least time of one call, after one to warm up."""
    work()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def show(name: str, taken: float, n_samples: int, n_bytes: float) -> None:
    print(
        f"{name:42s} {1e6 * taken / n_samples:8.1f} us/sample {n_samples / taken:9.0f} samples/s"
        f" {n_bytes / taken / 1e9:6.1f} GB/s",
        flush=True,
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--labels", type=int, default=220_084)
    parser.add_argument("--features", type=int, default=95_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--active", type=int, default=500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--optimizer", default="adagrad", choices=["sgd", "adagrad", "adagrad_row", "adam"])
    parser.add_argument("--skip-below", type=float, default=0.003)
    parser.add_argument("--rows", type=int, default=4096)
    return parser.parse_args()


def build(args: argparse.Namespace) -> tuple[Network, RandomInstances]:
    spec = NetworkSpec(args.features, (args.width,), args.labels, optimizer=args.optimizer)
    network = Network(spec, {a.name: np.zeros(a.shape, a.dtype) for a in parameter_specs(spec)})
    # As in training, where the shared memory is already there.
    for array in network.arrays.values():
        array.fill(0)
    start = time.perf_counter()
    initialise(network, 1)
    print(f"initialise {time.perf_counter() - start:.2f} s")
    return network, RandomInstances(args.rows, args.features, args.labels)


def time_input(args: argparse.Namespace, step: TrainStep, data: RandomInstances, states: int) -> None:
    network, m = step.network, args.batch
    seeds, out = np.zeros(m, np.uint64), np.empty((m, args.width), np.float32)
    batches = np.arange(data.n_rows, dtype=np.int64).reshape(-1, m)
    csr = (data.indptr, data.indices, data.values)

    def forward() -> None:
        for rows in batches:
            input_forward(*csr, rows, seeds, 1.0, network.layers[0].weights, out)

    def backward() -> None:
        for rows in batches:
            tail = (step.code, *network.layers[0].views, 1e-4, step.hyper, 1)
            input_backward(*csr, rows, seeds, 1.0, out, *tail)

    row_bytes = data.n_rows * data.n_nonzeros * args.width * 4
    show("input forward", seconds(forward), data.n_rows, row_bytes)
    show("input backward", seconds(backward), data.n_rows, 2 * (1 + states) * row_bytes)


def time_output(args: argparse.Namespace, step: TrainStep, data: RandomInstances, states: int) -> None:
    network, m, n = step.network, args.batch, args.active
    rng = np.random.default_rng(3)
    hidden = rng.standard_normal((m, args.width), np.float32)
    normalize_forward(hidden, hidden, np.empty(m, np.float32))
    lists = [rng.integers(0, data.n_labels, (m, n), np.int32) for _ in range(data.n_rows // m)]
    bounds = np.tile(np.array([1, n, n], np.int32), (m, 1))
    layer = (*network.output.views, *network.output_bias.views, False, network.dirty)
    scratch = (np.empty(n, np.float32), np.empty(n, np.int32), np.empty((m, args.width), np.float32))
    counters = np.zeros(16)

    def run(tau: float) -> None:
        for active in lists:
            head = (active, bounds, hidden, np.zeros(m, np.uint64), 0, False, 16.0, tau, step.code)
            output_step(*head, *layer, 1e-4, step.hyper, 1, *scratch, counters)

    row_bytes = args.width * 4
    for tau, kept in ((0.0, n), (0.003, None), (0.999, None)):
        counters[:] = 0
        taken = seconds(lambda tau=tau: run(tau))  # type: ignore[misc]
        kept = counters[Counter.ROWS_UPDATED] / counters[Counter.SAMPLES]
        n_bytes = data.n_rows * row_bytes * (n + kept * 2 * (1 + states))
        show(f"output, {n} active, {kept:.0f} updated", taken, data.n_rows, n_bytes)


def time_step(args: argparse.Namespace, step: TrainStep, data: RandomInstances) -> None:
    batches = np.arange(data.n_rows, dtype=np.int64).reshape(-1, args.batch)

    def run() -> None:
        for i, rows in enumerate(batches):
            step.run(rows, i * args.batch, 1e-4, 1e-4)

    step.counters[:] = 0
    taken = seconds(run)
    kept = step.counters[Counter.ROWS_UPDATED] / step.counters[Counter.SAMPLES]
    show(f"whole step, {kept:.0f} rows updated", taken, data.n_rows, 0)


def main() -> None:
    args = parse()
    network, data = build(args)
    train = TrainConfig(optimizer=args.optimizer, batch_size=args.batch, skip_below=args.skip_below)
    selector = RandomSelector(data, args.active)
    step = TrainStep(network, data, train, n_active=args.active, selector=selector)
    states = {"sgd": 0, "adagrad": 1, "adagrad_row": 0, "adam": 2}[args.optimizer]
    rows = np.arange(data.n_rows, dtype=np.int64)
    row_bytes = data.n_rows * args.width * 4
    taken = seconds(lambda: warm_start_add(network, data, rows))
    show("warm start", taken, data.n_rows, row_bytes * (data.n_nonzeros + 2))
    initialise(network, 1)
    time_input(args, step, data, states)
    time_output(args, step, data, states)
    time_step(args, step, data)


if __name__ == "__main__":
    main()
