"""Active sets from real tables, and training on them."""

from __future__ import annotations

import numpy as np

from distlsh.config.schema import TrainConfig
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.maintain import build
from distlsh.lsh.reader import TableReader
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tables import Tables, table_specs
from distlsh.model.counters import Counter
from distlsh.model.initialise import initialise, warm_start_add, warm_start_finish
from distlsh.model.network import Network
from distlsh.model.selector import LshSelector
from distlsh.model.spec import NetworkSpec
from distlsh.model.step import TrainStep
from tests.model.small import Data, clusters, make_network

HASH = HashSpec("cross_polytope", 1, 8, 2, 32, dim=16, seed=3)


def warm_network(data: Data) -> Network:
    network = make_network(NetworkSpec(data.n_features, (32,), data.n_labels))
    initialise(network, 1, warm_start=True)
    warm_start_add(network, data, np.arange(data.n_rows))
    warm_start_finish(network, data.label_counts(), 1, 0, data.n_labels)
    return network


def make_selector(network: Network, data: Data) -> tuple[LshSelector, np.ndarray]:
    """Return a selector over tables built from the network, and its reader slots."""
    specs = table_specs(HASH, data.n_labels, 16)
    arrays = {a.name: np.zeros(a.shape, a.dtype) for a in specs}
    arrays["tables.codes"][:] = -1
    build(Tables(arrays, 0), Hasher(HASH), network.output.weights)
    slots = np.full((2, 8), -1, np.int64)
    reader = TableReader(arrays, slots, 1, HASH)
    sizes = {"n_labels": data.n_labels, "n_active": 40, "n_random": 5, "batch": 16}
    return LshSelector(reader, data, **sizes), slots


def test_active_sets_hold_labels_then_near_rows_then_random_ones():
    """Ids are distinct, labels come first, and retrieved neurons are nearer than random ones on average."""
    data = clusters(600, 200, 1)
    network = warm_network(data)
    selector, slots = make_selector(network, data)
    rows, active, bounds = np.arange(16), np.empty((16, 40), np.int32), np.empty((16, 3), np.int32)
    hidden = network.hidden(data, rows)
    selector.select_batch(hidden, rows, np.arange(16, dtype=np.uint64), active, bounds)
    near, far = [], []
    for i in rows:
        b0, b1, b2 = bounds[i]
        assert active[i, :b0].tolist() == data.label_lists[i]
        assert b2 == 40 and b1 <= 35 and len(set(active[i])) == 40
        near += list(network.output.weights[active[i, b0:b1]] @ hidden[i])
        far += list(network.output.weights[active[i, b1:]] @ hidden[i])
    assert np.mean(near) > np.mean(far) + 0.1
    np.testing.assert_array_equal(slots, -1)


def test_training_on_retrieved_neurons_learns():
    """Steps on active sets of 40 of 200 outputs bring P@1 of unseen instances above the warm start's."""
    train, test = clusters(4000, 200, 1), clusters(500, 200, 2)
    network = warm_network(train)
    selector, _ = make_selector(network, train)

    def p_at_1() -> float:
        scores = network.hidden(test, np.arange(500)) @ network.output.weights.T
        return float(np.mean(scores.argmax(axis=1) == test.labels))

    before = p_at_1()
    config = TrainConfig(batch_size=16, lr=0.01, adagrad_init=0.01)
    step = TrainStep(network, train, config, n_active=40, selector=selector)
    for first in range(0, 4000, 16):
        step.run(np.arange(first, first + 16), first, 0.01, 0.01)
    assert p_at_1() > before
    assert step.counters[Counter.RETRIEVED] > 10 * 4000
    assert 0 < step.counters[Counter.MACS] < 0.5 * step.counters[Counter.DENSE_MACS]
