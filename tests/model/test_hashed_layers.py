"""Networks with hashed hidden layers: against dense ones, and against central differences."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from distlsh.config.schema import Config
from distlsh.evaluation.tables import FixedTables
from distlsh.kernels.pairs import dense_to_pairs, pairs_to_dense
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.maintain import build
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tables import Tables, table_specs
from distlsh.model.counters import Counter
from distlsh.model.initialise import initialise
from distlsh.model.layers.choosers import AllNeurons, RandomNeurons
from distlsh.model.layers.hashed import HashedLayer
from distlsh.model.layers.inference import sparse_forward
from distlsh.model.layers.state import Pairs, Room
from distlsh.model.layers.tables import TableNeurons, hidden_choosers
from distlsh.model.network import Network
from distlsh.model.spec import NetworkSpec, layer_name
from distlsh.model.step import TrainStep
from distlsh.runtime.layout import has_tables, hidden_tables
from tests.model.small import Data, FixedSelector, clusters, make_network
from tests.model.test_train_step import FUNCTIONS, one_sample, train_config


def twin(network: Network, active: tuple[int, ...]) -> Network:
    """Return a network with the same weights whose layers are hashed where ``active`` is not 0."""
    fields = {name: getattr(network.spec, name) for name in NetworkSpec.__dataclass_fields__}
    other = make_network(NetworkSpec(**{**fields, "active": active}))
    for name, array in network.arrays.items():
        target = other.arrays[name]
        target[...] = array if array.shape == target.shape else array.T
    return other


def same_arrays(dense: Network, hashed: Network, **tolerance) -> None:
    for name, array in dense.arrays.items():
        if name.endswith(".dirty"):
            continue
        other = hashed.arrays[name]
        other = other if other.shape == array.shape else other.T
        np.testing.assert_allclose(other, array, err_msg=name, **tolerance)


@pytest.mark.parametrize("active", [(8, 0, 0), (0, 6, 0), (0, 0, 5), (8, 6, 5), (8, 0, 5)])
@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("n_active", [9, 30])
def test_with_all_neurons_active_a_hashed_network_is_the_dense_one(active, activation, normalize, n_active):
    """Any mix of dense and hashed layers, whose active set is everything, steps as dense layers do."""
    data = clusters(12, 30, 1)
    spec = NetworkSpec(data.n_features, (8, 6, 5), 30, activation, normalize, bias=True, optimizer="sgd")
    dense = make_network(spec, 5)
    hashed = twin(dense, active)
    for network in (dense, hashed):
        step = TrainStep(network, data, train_config(), n_active=n_active, selector=FixedSelector(data, 9))
        for first in range(12):
            step.run(np.arange(first, first + 1), first, 0.05, 0.02)
    same_arrays(dense, hashed, rtol=1e-4, atol=1e-5)
    for name, marks in hashed.arrays.items():
        if name.endswith(".dirty") and name != "output.dirty":
            assert marks.all()


def masked_loss(spec: NetworkSpec, p: dict, x: np.ndarray, labels: list[int], masks: dict) -> float:
    """Return the softmax loss of a network whose layer i passes on the neurons of ``masks[i]`` alone."""
    h = x
    for i in range(len(spec.hidden)):
        name = layer_name(i)
        w = p[f"{name}.weights"]
        sums = h @ (w.T if spec.budget(i) else w) + p[f"{name}.bias"].reshape(-1)
        h = FUNCTIONS[spec.activation](sums) * masks.get(i, 1.0)
    if spec.normalize:
        h = spec.scale * h / np.linalg.norm(h)
    z = p["output.weights"] @ h + p["output.bias"][:, 0]
    return float(np.log(np.exp(z - z.max()).sum()) + z.max() - z[labels].mean())


@pytest.mark.parametrize("active", [(3, 0, 0), (0, 3, 0), (0, 0, 2), (4, 3, 2), (4, 0, 2)])
@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize("normalize", [True, False])
def test_one_sgd_step_is_the_gradient_of_the_masked_network(active, activation, normalize):
    """SGD moves every array by -lr times the central difference with the active sets held fixed."""
    spec = NetworkSpec(
        6, (8, 6, 5), 7, activation, normalize, scale=2.0, bias=True, optimizer="sgd", active=active
    )
    data, network = one_sample(11, [5, 2]), make_network(spec, 4)
    before = {k: v.astype(np.float64) for k, v in network.arrays.items() if v.dtype == np.float32}
    step = TrainStep(network, data, train_config(), n_active=7)
    step.run(np.array([0]), 0, 1e-3, 2e-3)
    masks = {}
    for layer in step.stack.layers:
        if isinstance(layer, HashedLayer):
            masks[layer.number] = np.zeros(spec.hidden[layer.number])
            masks[layer.number][layer.out.indices[: layer.out.indptr[1]]] = 1.0
            assert 0 < masks[layer.number].sum() <= active[layer.number]
    x = data.x[0].astype(np.float64)
    for name, array in before.items():
        for place in np.ndindex(array.shape):
            kept, ends = array[place], []
            for h in (1e-5, -1e-5):
                array[place] = kept + h
                ends.append(masked_loss(spec, before, x, [5, 2], masks))
            array[place] = kept
            rate = 2e-3 if name.startswith("input") else 1e-3
            got = (kept - network.arrays[name][place]) / rate
            assert got == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=0.02, abs=2e-3), (name, place)


def test_counted_multiply_adds_are_those_of_pairs():
    """Candidates forward, active neurons backward, times inputs that are not zero; of a dense layer all."""
    spec = NetworkSpec(3, (4, 5), 10, "linear", False, optimizer="sgd", active=(2, 3))
    data = Data(np.array([[1, 0, 1], [1, 1, 1]], np.float32), [[0], [1]], 10)
    step = TrainStep(make_network(spec, 1), data, train_config(), n_active=10)
    step.run(np.arange(2), 0, 0.01, 0.01)
    first, second = 5 * 4 + 5 * 2, 4 * 5 + 2 * 4 * 3
    counters = step.counters
    assert counters[Counter.HASHED_MACS] == first + second
    assert counters[Counter.HASHED_DENSE_MACS] == 2 * 5 * 4 + 3 * 2 * 4 * 5
    assert counters[Counter.MACS] == first + second + 3 * 2 * 10 * 3
    assert counters[Counter.DENSE_MACS] == counters[Counter.HASHED_DENSE_MACS] + 3 * 2 * 10 * 5


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adagrad", "adagrad_row", "adam"])
def test_the_same_steps_repeat_bit_for_bit(optimizer):
    """Dropout of features and random neurons come from the sample numbers: a repeat is identical."""
    data = clusters(40, 30, 1)
    spec = NetworkSpec(
        data.n_features, (8, 6), 30, "relu", optimizer=optimizer, active=(4, 3), input_dropout=0.3
    )
    networks = []
    for _ in range(2):
        networks.append(make_network(spec, 5))
        train = train_config(optimizer=optimizer.replace("momentum", "sgd"), momentum=0.5)
        choosers = {0: RandomNeurons(8, 4, 4), 1: RandomNeurons(6, 3, 4)}
        step = TrainStep(networks[-1], data, train, n_active=30, choosers=choosers)
        for first in range(0, 40, 4):
            step.run(np.arange(first, first + 4), first, 0.05, 0.02)
    for name, array in networks[0].arrays.items():
        np.testing.assert_array_equal(array, networks[1].arrays[name], err_msg=name)
        assert np.isfinite(array).all()


def test_random_neurons_are_distinct_and_equally_likely():
    """Each of 10 neurons is among the 3 drawn as often as any other: chi-square below its 0.9999 point."""
    chooser = RandomNeurons(10, 3, 2000)
    chosen, counts = chooser.choose(None, 2000, np.arange(2000, dtype=np.uint64))
    assert (counts == 3).all() and all(len(set(row)) == 3 for row in chosen.tolist())
    found = np.bincount(chosen.ravel(), minlength=10)
    # Drawn without replacement: the variance of a count is 0.7 of the binomial's, and 9 degrees remain.
    assert ((found - 600) ** 2 / 600).sum() / 0.7 * 0.9 < 33.7


def table_source(network: Network, i: int, bucket_size: int = 16) -> FixedTables:
    """Return tables built over layer ``i`` of ``network``, biases behind the weights."""
    rows = np.concatenate([network.layers[i].weights, network.biases[i].weights], axis=1)
    spec = HashSpec("cross_polytope", 1, 20, 1, rows.shape[1], dim=4, seed=3)
    arrays = {a.name: np.zeros(a.shape, a.dtype) for a in table_specs(spec, len(rows), bucket_size)}
    arrays["tables.codes"][:] = -1
    tables, hasher = Tables(arrays, 0), Hasher(spec)
    build(tables, hasher, rows)
    return FixedTables(spec, hasher, tables)


def test_tables_find_neurons_with_large_sums():
    """Of 200 neurons, 20 by tables hold more of the exact top 20 than chance would, and are distinct."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((60, 12)).astype(np.float32)
    network = make_network(NetworkSpec(12, (200,), 7, "linear", False, active=(20,)), 2)
    chooser = TableNeurons(table_source(network, 0), 200, 20, 60)
    inputs = Pairs(Room(60), 12, 12)
    dense_to_pairs(x, False, *inputs.of(60))
    chosen, counts = chooser.choose(inputs, 60, np.arange(60, dtype=np.uint64))
    assert (counts == 20).all() and all(len(set(row)) == 20 for row in chosen.tolist())
    sums = x @ network.layers[0].weights.T + network.biases[0].weights[:, 0]
    top = np.argsort(-sums, axis=1)[:, :20]
    found = np.mean([len(set(a) & set(b)) for a, b in zip(chosen.tolist(), top.tolist(), strict=True)])
    # By chance 2 of 20; with variance below 2 a sample, the mean of 60 stays below 3 but for one in 10^7.
    assert found > 6


def test_what_tables_lack_is_filled_at_random():
    """Empty tables still give the whole budget, another one for each sample."""
    network = make_network(NetworkSpec(12, (50,), 7, "linear", False, active=(5,)), 2)
    source = table_source(network, 0)
    source.current.clear()
    inputs = Pairs(Room(40), 12, 12)
    dense_to_pairs(np.ones((40, 12), np.float32), False, *inputs.of(40))
    chosen, counts = TableNeurons(source, 50, 5, 40).choose(inputs, 40, np.arange(40, dtype=np.uint64))
    assert (counts == 5).all() and all(len(set(row)) == 5 for row in chosen.tolist())
    assert len(np.unique(chosen)) > 25


def test_a_pool_that_takes_in_the_layer_needs_no_tables():
    """With 20 of 50 active and a pool of 2.5 all are computed; with a smaller one tables are asked."""
    model = {"hidden": [50], "active_share": 0.4}
    network = make_network(NetworkSpec(12, (50,), 7, "linear", False, active=(20,)), 2)
    for pool, tables in ((2.5, 0), (2.4, 1)):
        groups = {"data": {"synth": {}}, "model": model, "lsh": {"n_active": 7, "hidden": {"pool": pool}}}
        config = msgspec.convert(groups, Config)
        sets = hidden_tables(config, 12)
        assert len(sets) == tables and has_tables(config, 12, 7) == bool(tables)
        sources = {one.layer: table_source(network, one.layer) for one in sets}
        chooser = hidden_choosers(network.spec, config.lsh.hidden, sources, 4)[0]
        assert isinstance(chooser, TableNeurons if tables else AllNeurons)
        assert chooser.most == (48 if tables else 50)


def test_the_first_pass_and_inference_agree():
    """`Network.hidden` gives what the stack passes on in training; its recall of itself is 1."""
    data = clusters(300, 30, 1)
    network = make_network(NetworkSpec(data.n_features, (20, 10), 30, "relu", active=(5, 4)), 3)
    rows = np.arange(300)
    hidden = network.hidden(data, rows)
    assert (np.count_nonzero(hidden, axis=1) <= 4).all()
    np.testing.assert_allclose(np.linalg.norm(hidden, axis=1), hidden.any(axis=1), rtol=1e-5)
    step = TrainStep(network, data, train_config(), n_active=30)
    step.run(rows[:4], 0, 1e-9, 1e-9)
    out = np.empty((4, 10), np.float32)
    pairs_to_dense(*step.stack.out.of(4), out)
    np.testing.assert_allclose(out, hidden[:4], rtol=1e-4, atol=1e-5)
    csr = (data.indptr, data.indices, data.values)
    found = sparse_forward(network, csr, rows, {0: AllNeurons(20)}, recall=True)
    np.testing.assert_allclose(found.hidden, hidden, rtol=1e-5, atol=1e-6)
    assert found.found == found.wanted and len(found.wanted) == 2
    assert found.macs < network.spec.hidden_macs(int(data.indptr[-1]), 300)


def test_hashed_layers_learn_as_well_as_dense_ones():
    """With 6 of 48 and 6 of 32 neurons active P@1 rises above 0.8, with the exact top and by tables."""
    train, test = clusters(2000, 50, 1), clusters(300, 50, 2)
    spec = NetworkSpec(train.n_features, (48, 32), 50, "relu", False, active=(6, 6))
    network = make_network(spec)
    initialise(network, 1)
    sources = [table_source(network, i, 48) for i in range(2)]
    choosers = {i: TableNeurons(source, spec.hidden[i], 12, 16) for i, source in enumerate(sources)}
    step = TrainStep(network, train, train_config(batch_size=16), n_active=50, choosers=choosers)
    order, sample = np.random.default_rng(1), 0
    for _ in range(8):
        for rows in order.permutation(2000).reshape(-1, 16):
            step.run(rows, sample, 0.05, 0.05)
            sample += len(rows)
            if sample % 400 == 0:
                for i, source in enumerate(sources):
                    rows_of = [network.layers[i].weights, network.biases[i].weights]
                    build(source.current, source.hasher, np.concatenate(rows_of, axis=1))
    large = {i: TableNeurons(source, spec.hidden[i], 12, 128) for i, source in enumerate(sources)}
    for chosen in (None, large):
        scores = network.hidden(test, np.arange(300), chosen) @ network.output.weights.T
        assert np.mean(scores.argmax(axis=1) == test.labels) > 0.8
    assert step.counters[Counter.NON_FINITE] == 0
    assert step.counters[Counter.HASHED_MACS] < 0.2 * step.counters[Counter.HASHED_DENSE_MACS]
