"""Data that no one means, but that every check admits, through a whole small training, prediction and search.

Run with bounds checking on: ``NUMBA_BOUNDSCHECK=1 python -m tests.fuzz.admissible EXAMPLES``.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import get_args

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba.core import config as numba_config
from scipy.sparse import csr_array

from distlsh.config.schema import Activation, Loss, TrainConfig
from distlsh.data import Dataset
from distlsh.evaluation.evaluate import evaluate_rows
from distlsh.evaluation.sums import EvalSums
from distlsh.lsh import Hasher, HashSpec, Tables, build, table_specs
from distlsh.lsh.index import LSHIndex
from distlsh.lsh.maintain import refresh
from distlsh.lsh.reader import TableReader
from distlsh.model.initialise import initialise, warm_start_add, warm_start_finish
from distlsh.model.network import Network
from distlsh.model.selector import LshSelector
from distlsh.model.spec import NetworkSpec, parameter_specs
from distlsh.model.step import TrainStep

_VALUES = (0.0, -0.0, 1.0, -1.0, 1e-45, -1e-38, 1e10, -1e10, 3.4e38, -3.4e38)


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    """Draw rows: empty ones, equal ones, the largest ids, all labels or none, absurd values."""
    n_rows, n_features, n_labels = (draw(st.integers(1, most)) for most in (12, 40, 60))
    seed, share = draw(st.integers(0, 2**31)), draw(st.sampled_from((0.0, 0.1, 1.0)))
    random = np.random.default_rng(seed)
    dense = np.where(
        random.random((n_rows, n_features)) < share, random.choice(_VALUES, (n_rows, n_features)), 0
    )
    if draw(st.booleans()):
        dense[:, -1] = 1.0
    kind = draw(st.sampled_from(("none", "one", "all", "same", "last")))
    labels = {
        "none": [[] for _ in range(n_rows)],
        "one": [[int(random.integers(n_labels))] for _ in range(n_rows)],
        "all": [list(range(n_labels)) for _ in range(n_rows)],
        "same": [[0, n_labels - 1] for _ in range(n_rows)],
        "last": [[n_labels - 1] if i % 2 else [] for i in range(n_rows)],
    }[kind]
    return Dataset.from_csr(csr_array(dense.astype(np.float32)), labels, n_labels=n_labels)


@st.composite
def specs(draw: st.DrawFn, data: Dataset) -> NetworkSpec:
    """Draw a network that may be as narrow as one neuron."""
    width, normalize = draw(st.sampled_from((1, 3, 16, 33))), draw(st.booleans())
    hidden = draw(st.sampled_from(((width,), (5, width))))
    return NetworkSpec(
        data.n_features, hidden, data.n_labels, normalize=normalize,
        activation=draw(st.sampled_from(get_args(Activation))),
        bias=draw(st.booleans()), loss=draw(st.sampled_from(get_args(Loss))),
        optimizer=draw(st.sampled_from(("adagrad", "adam", "sgd", "adagrad_row"))),
        dropout=draw(st.sampled_from((0.0, 0.5))),
    )  # fmt: skip


def _arrays(specs_: list, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    found = {item.name: np.zeros(item.shape, item.dtype) for item in specs_}
    for name, array in found.items():
        if name.endswith(("weights", "bias")):
            array[:] = random.standard_normal(array.shape)
    return found


def _hash_spec(draw: st.DrawFn, width: int) -> HashSpec:
    family = draw(st.sampled_from(("cross_polytope", "fast_srp", "dwta")))
    sizes = {"cross_polytope": {"dim": 2}, "fast_srp": {}, "dwta": {"bin_size": 2}}[family]
    return HashSpec(family, 2, 3, draw(st.integers(0, 2)), width, **sizes)  # type: ignore[arg-type]


@st.composite
def runs(draw: st.DrawFn) -> tuple[Dataset, NetworkSpec, HashSpec, str, str]:
    """Draw data, a network, hash functions, a bucket policy and a way to choose."""
    data = draw(datasets())
    spec = draw(specs(data))
    policy = draw(st.sampled_from(("fifo", "reservoir", "bottom_k")))
    return (
        data,
        spec,
        _hash_spec(draw, spec.width),
        policy,
        draw(st.sampled_from(("topk", "vanilla", "threshold", "score"))),
    )


def train(run: tuple[Dataset, NetworkSpec, HashSpec, str, str]) -> None:
    """Warm start, tables, some steps, a refresh, an evaluation by both ways."""
    data, spec, hashing, policy, sampling = run
    batch = 4
    network = Network(spec, _arrays(parameter_specs(spec), 1))
    initialise(network, 1, warm_start=True)
    rows = np.arange(data.n_rows)
    warm_start_add(network, data, rows)
    warm_start_finish(network, data.label_counts(), 1, 0, data.n_labels)
    wanted = table_specs(hashing, data.n_labels, 3, policy=policy, sketch=sampling == "score")
    arrays = _arrays(wanted, 2)
    arrays["tables.codes"][...] = -1
    tables, hasher = Tables(arrays, 0, policy), Hasher(hashing)
    build(tables, hasher, network.output.weights)
    reader = TableReader(arrays, np.full((1, 8), -1, np.int64), 0, hashing)
    n_active = max(1, data.n_labels // 2)
    sizes = {"n_labels": data.n_labels, "n_active": n_active, "n_random": n_active // 3, "batch": batch}
    selector = LshSelector(reader, data, **sizes, sampling=sampling, pool=n_active)  # type: ignore[arg-type]
    config = TrainConfig(batch_size=batch, optimizer="adagrad")
    for n in (n_active, data.n_labels):
        step = TrainStep(network, data, config, n_active=n, selector=selector)
        for first in range(0, data.n_rows, batch):
            step.run(rows[first : first + batch], first, 0.1, 0.1)
    refresh(tables, hasher, network.output.weights, np.arange(data.n_labels, dtype=np.int32))
    ones = np.ones(data.n_labels, np.float32)
    EvalSums() + evaluate_rows(network, hasher, tables, data, rows, ones)


def search(data: Dataset) -> None:
    """Index the rows in every metric that takes them; search, add, remove, save, load."""
    rows = data.to_csr()
    rows.data = np.clip(rows.data, -1e18, 1e18)
    for metric in ("cosine", "dot", "euclidean", "jaccard"):
        for some in (rows, rows.toarray()):
            index = LSHIndex(metric=metric, n_tables=2, n_jobs=1).fit(some)
            index.search(some, 3)
            index.candidates(some)
            index.remove(index.add(some)[:1])
            index.remove([0])
            with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
                index.save(Path(folder) / "index")
                LSHIndex.load(Path(folder) / "index").search(some, 1)


def main(examples: int) -> None:
    """Run both with ``examples`` drawn inputs; the first that fails is shown in its smallest form."""
    assert numba_config.BOUNDSCHECK, "set NUMBA_BOUNDSCHECK=1"
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    usual = settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    usual(given(run=runs())(train))()
    usual(given(data=datasets())(search))()
    print("done")


if __name__ == "__main__":
    main(int(sys.argv[1]))
