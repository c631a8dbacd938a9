"""A network, tables and instances of a shape, and training steps whose phases are timed."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from cache_model import CacheModel
from staged_output import BACKWARD, FORWARD, LOSS, staged_output_step

from distlsh.config.load import load_config
from distlsh.config.schema import Config
from distlsh.lsh.biased import as_queries
from distlsh.lsh.reader import TableReader
from distlsh.model.initialise import initialise, warm_start_add, warm_start_finish
from distlsh.model.layers.state import Dense
from distlsh.model.network import Network
from distlsh.model.selector import LshSelector
from distlsh.model.spec import NetworkSpec
from distlsh.model.step import TrainStep
from distlsh.runtime.layout import Sizes, output_tables, plan_arrays
from distlsh.runtime.rehasher import LayerTables
from distlsh.shm.arena import Arena
from distlsh.shm.generation import publish
from distlsh.shm.names import new_run_id

PHASES = (
    "input forward",
    "query",
    "active set",
    "output forward",
    "softmax + rounding",
    "output backward + optimiser",
    "input backward + optimiser",
)
_INPUT, _QUERY, _ACTIVE, _FORWARD, _LOSS, _BACKWARD, _INPUT_BACKWARD = PHASES
_LINE = 64
ENWIKI_FILE = "enwiki-para.train.txt.gz"


@dataclass
class PowerLaw:
    """Instances whose features follow a power law, with uniformly drawn labels.

    A feature's rank is ``n_features * u ** 3.5``, u uniform: in text a few hundred features make a third
    of all, and most are seldom seen.
    """

    n_rows: int
    n_features: int
    n_labels: int
    n_nonzeros: int

    def __post_init__(self) -> None:
        rng = np.random.default_rng(1)
        n = self.n_rows * self.n_nonzeros
        ranks = (self.n_features * rng.random(n, np.float32) ** 3.5).astype(np.int32)
        # Frequent features have no numbers of their own kind: their rows lie anywhere.
        self.indices = rng.permutation(self.n_features).astype(np.int32)[ranks]
        self.indptr = np.arange(self.n_rows + 1, dtype=np.int64) * self.n_nonzeros
        self.values = rng.random(n, np.float32) + np.float32(0.1)
        self.label_indptr = np.arange(self.n_rows + 1, dtype=np.int64)
        self.labels = rng.integers(0, self.n_labels, self.n_rows, dtype=np.int32)


def read_enwiki(folder: Path, cache_dir: str, changes: list[str]) -> tuple[Config, Any]:
    """Return enwiki-para's configuration with ``changes``, and the folder's training instances."""
    from distlsh.data.opening import open_pair

    files = [f"data.train={folder / ENWIKI_FILE}", f"data.cache_dir={cache_dir}", "data.test=null"]
    config = load_config("enwiki-para", [*changes, *files], check_files=False)
    return config, open_pair(config.data)[0]


class Setting:
    """Everything that a run shares, warm-started and with tables built.

    shared  in a segment of /dev/shm, as in a run; else in private memory, which the system puts
            on huge pages where it may
    """

    def __init__(self, config: Config, data: Any, n_workers: int, *, shared: bool) -> None:
        self.config = msgspec.structs.replace(
            config, run=msgspec.structs.replace(config.run, workers=n_workers)
        )
        self.data = data
        sizes = Sizes(data.n_features, data.n_labels, data.n_rows, 0, 64)
        specs = plan_arrays(self.config, sizes)
        self.arrays: Mapping[str, Any]
        if shared:
            arena = Arena.create(new_run_id(), specs)
            arena.unlink()  # it lives as long as this process
            self.arrays = arena
        else:
            self.arrays = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs}
        self.arrays["runtime.slots"][:, 0] = -1
        self.network = Network(NetworkSpec.from_config(config, data.n_features, data.n_labels), self.arrays)
        tables = output_tables(self.config, data.n_labels)
        assert tables is not None
        self.tables = tables
        self.generation = 0
        self._warm_start()
        self.rehasher = LayerTables(tables, self.arrays, config.train.seed, lambda: None)

    def _warm_start(self) -> None:
        network, data, seed = self.network, self.data, self.config.train.seed
        warm = self.config.model.warm_start
        in_parts = self.config.run.workers
        at_once(in_parts, lambda i: initialise(network, seed, i, in_parts, warm_start=warm))
        if not warm:
            return
        rows = np.array_split(np.arange(data.n_rows, dtype=np.int64), in_parts)
        at_once(in_parts, lambda i: warm_start_add(network, data, rows[i]))
        counts = np.bincount(data.labels, minlength=data.n_labels).astype(np.int64)
        warm_start_finish(network, counts, seed, 0, data.n_labels)

    def rehash(self, full: bool) -> tuple[int, float]:
        """Publish tables of all rows or of the changed ones; return how many, and the seconds."""
        start = time.thread_time()
        self.generation += 1
        done = self.rehasher.refresh(self.generation, full)
        publish(self.arrays["tables.generation"], self.generation)
        return done.rows, time.thread_time() - start

    def worker(self, index: int) -> TimedStep:
        """Return the step of worker ``index``."""
        slots = self.arrays["runtime.slots"]
        reader = TableReader(self.tables.arrays(self.arrays), slots, index, self.tables.spec)
        lsh, batch = self.config.lsh, self.config.train.batch_size
        selector = TimedSelector(
            reader,
            self.data,
            n_labels=self.data.n_labels,
            n_active=lsh.n_active,
            n_random=lsh.n_random,
            batch=batch,
        )
        return TimedStep(self.network, self.data, self.config.train, n_active=lsh.n_active, selector=selector)


class TimedSelector(LshSelector):
    """`LshSelector` with a clock between query and choice."""

    def select_batch(self, hidden: Any, rows: Any, seeds: Any, active: Any, bounds: Any) -> None:
        start = time.thread_time()
        self.codes = codes = self._codes[: len(rows)]
        queries = as_queries(hidden, self._reader.spec.n_dims)
        self._reader.hasher.probes(queries, codes)
        queried = time.thread_time()
        data = self._dataset
        with self._reader.tables() as tables:
            self.sizes = tables.sizes
            labels = (data.label_indptr, data.labels)
            self._sampler.select(tables, codes, *labels, rows, seeds, active, bounds, queries)
        self.taken = (queried - start, time.thread_time() - queried)


class _TimedStack:
    """A `Stack` that keeps the seconds of its last passes."""

    def __init__(self, stack: Any) -> None:
        self._stack = stack
        self.taken = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stack, name)

    def forward(self, batch: Any) -> bool:
        start = time.thread_time()
        finite = self._stack.forward(batch)
        self.taken[_INPUT] = time.thread_time() - start
        return bool(finite)

    def backward(self, batch: Any) -> None:
        start = time.thread_time()
        self._stack.backward(batch)
        self.taken[_INPUT_BACKWARD] = time.thread_time() - start


class TimedStep(TrainStep):
    """A `TrainStep` that keeps each phase's seconds of its last batch in ``taken``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stack = _TimedStack(self.stack)  # type: ignore[assignment]
        self.taken: dict[str, float] = {}
        self.cycles = np.zeros(3, np.int64)
        self.kept_rows = np.empty((0, 0), np.int32)
        self.n_kept_rows = np.zeros(self.train.batch_size, np.int32)

    def keep_rows(self) -> None:
        """Keep from now on which rows each sample steps."""
        self.kept_rows = np.zeros(self.active.shape, np.int32)

    def _train_output(self, rows: Any, lr: float, step: int) -> None:
        spec, m = self.network.spec, len(rows)
        assert isinstance(self.stack.out, Dense)
        hidden, delta = self.stack.out.values[:m], self.stack.out.delta[:m]
        active, bounds = self.active[:m], self.bounds[:m]
        self.selector.select_batch(hidden, rows, self.selection_seeds(m), active, bounds)
        seeds = self.rounding_seeds(m)
        layer = (*self.network.output.views, *self.network.output_bias.views, spec.bias, self.network.dirty)
        scratch = (self.logits, self.kept, delta, self.counters)
        self.cycles[:] = 0
        start = time.thread_time()
        staged_output_step(
            active, bounds, hidden, seeds, spec.logit_scale, self.train.skip_below, self.code,
            *layer, lr, self.hyper, step, *scratch, self.cycles, self.kept_rows, self.n_kept_rows,
        )  # fmt: skip
        self._staged = time.thread_time() - start

    def timed(self, rows: Any, first_sample: int) -> dict[str, float]:
        """Train on a batch; return the seconds of each phase, and of the whole as "step"."""
        start = time.thread_time()
        self.run(rows, first_sample, self.train.lr, self.train.lr_input or self.train.lr)
        whole = time.thread_time() - start
        shares = self.cycles / max(1, self.cycles.sum())
        taken = dict(self.stack.taken)  # type: ignore[attr-defined]
        taken[_QUERY], taken[_ACTIVE] = self.selector.taken  # type: ignore[union-attr]
        for phase, place in ((_FORWARD, FORWARD), (_LOSS, LOSS), (_BACKWARD, BACKWARD)):
            taken[phase] = self._staged * shares[place]
        taken["step"] = whole
        return taken


def at_once(n: int, work: Callable[[int], None]) -> None:
    """Run ``work(0..n-1)`` in a thread each."""
    threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def batches_of(setting: Setting, index: int, n_batches: int, first: int) -> list[Any]:
    """Return the row numbers of a worker's batches: other rows for each worker."""
    m, n = setting.config.train.batch_size, setting.data.n_rows
    order = np.random.default_rng(index).permutation(n).astype(np.int64)
    places = np.arange(first * m, (first + n_batches) * m) % n
    return list(order[places].reshape(n_batches, m))


def time_steps(setting: Setting, steps: list[TimedStep], n_batches: int, first: int) -> dict[str, float]:
    """Train with all ``steps`` at once; return each phase's median microseconds a sample of a worker."""
    taken: list[list[dict[str, float]]] = [[] for _ in steps]

    def work(i: int) -> None:
        for number, rows in enumerate(batches_of(setting, i, n_batches, first)):
            taken[i].append(steps[i].timed(rows, (first + number) * len(rows)))

    at_once(len(steps), work)
    m = setting.config.train.batch_size
    every = [one for worker in taken for one in worker]
    return {name: 1e6 * statistics.median(one[name] for one in every) / m for name in every[0]}


def count_bytes(
    setting: Setting, step: TimedStep, n_batches: int, first: int, cache_bytes: int
) -> dict[str, dict[str, float]]:
    """Return a sample's bytes in each phase: ``touched``, and ``moved`` between memory and a cache's bytes.

    The first half of the batches fills the cache and is not counted.
    """
    step.keep_rows()
    model = CacheModel(cache_bytes)
    for number, rows in enumerate(batches_of(setting, 0, n_batches, first)):
        if number == n_batches // 2:
            model.start_counting()
        step.timed(rows, (first + number) * len(rows))
        _trace(setting, step, rows, model)
    step.kept_rows = np.empty((0, 0), np.int32)
    n = (n_batches - n_batches // 2) * setting.config.train.batch_size
    return {
        "touched": {name: model.touched.get(name, 0) / n for name in PHASES},
        "moved": {name: model.moved.get(name, 0) / n for name in PHASES},
    }


def _trace(setting: Setting, step: TimedStep, rows: Any, model: CacheModel) -> None:
    """Take a batch's rows and buckets through the cache, in the order of the step."""
    data, network = setting.data, setting.network
    features = [data.indices[data.indptr[row] : data.indptr[row + 1]].tolist() for row in rows]
    layer = _parts(network.layers[0])
    for some in features:
        for feature in some:
            model.use(*layer[0](feature), _INPUT)
    for codes in step.selector.codes:  # type: ignore[union-attr]
        _trace_buckets(codes, step.selector.sizes, model)  # type: ignore[union-attr]
    output = _parts(network.output)
    for s in range(len(rows)):
        for row in step.active[s, : step.bounds[s, 2]].tolist():
            model.use(*output[0](row), _FORWARD)
        for row in step.kept_rows[s, : step.n_kept_rows[s]].tolist():
            for part in output:
                model.use(*part(row), _BACKWARD, write=True)
    for some in features:
        for feature in some:
            for part in layer:
                model.use(*part(feature), _INPUT_BACKWARD, write=True)


def _parts(block: Any) -> list[Callable[[int], tuple[int, int]]]:
    """Return for each array of a trained block what gives a row's address and its bytes in whole lines."""
    found = []
    for array in (block.weights, block.state1, block.state2, block.clock):
        if len(array) == len(block.weights):
            base, stride = array.__array_interface__["data"][0], array.strides[0]
            found.append(lambda row, base=base, stride=stride: _lines(base + row * stride, stride))
    return found


def _lines(address: int, n_bytes: int) -> tuple[int, int]:
    first = address // _LINE
    return first, ((address + n_bytes - 1) // _LINE - first + 1) * _LINE


def _trace_buckets(codes: Any, sizes: Any, model: CacheModel) -> None:
    n_buckets = sizes.shape[1]
    for table in range(codes.shape[0]):
        for code in codes[table].tolist():
            if code >= 0:
                bucket = table * n_buckets + code
                model.use(-1 - bucket // 16, _LINE, _ACTIVE)  # sizes, 16 a line
                held = int(sizes[table, code])
                if held:
                    model.use(-(1 << 40) - bucket, -(-held * 4 // _LINE) * _LINE, _ACTIVE)


def multiply_adds(setting: Setting, step: TimedStep) -> dict[str, float]:
    """Return a sample's multiply-adds in each phase, by the step's counters.

    A rotation's additions count as such; square roots, divisions and exponentials do not.
    """
    spec, tables = setting.network.spec, setting.tables.spec
    n = step.counters[0]
    active, kept = step.counters[3] / n, step.counters[5] / n
    nonzeros = len(setting.data.indices) / setting.data.n_rows
    state = {"sgd": 0, "momentum": 1, "adagrad": 1, "adagrad_row": 0, "adam": 2}[spec.optimizer]
    width = 1 << (tables.n_dims - 1).bit_length()
    rounds = 2 - (-tables.n_tables * tables.n_hashes * tables.dim // width)
    return {
        _INPUT: nonzeros * spec.hidden[0],
        _QUERY: rounds * width * np.log2(width),
        _ACTIVE: 0.0,
        _FORWARD: active * spec.width,
        _LOSS: active,
        _BACKWARD: kept * (2 + state) * spec.width,
        _INPUT_BACKWARD: nonzeros * (1 + state) * spec.hidden[0],
    }
