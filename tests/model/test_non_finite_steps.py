"""Samples with numbers that are not finite: named, counted, and without effect on anything."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.config.schema import PretrainConfig
from distlsh.model.counters import Counter
from distlsh.model.finite import Watch
from distlsh.model.initialise import warm_start_add
from distlsh.model.pretrain import PretrainStep
from distlsh.model.spec import NetworkSpec
from distlsh.model.step import TrainStep
from tests.model.small import FixedSelector, clusters, make_network
from tests.model.test_train_step import train_config

OPTIMIZERS = ("sgd", "momentum", "adagrad", "adagrad_row", "adam")
BAD = 2


def poisoned(value, n=6):
    """Return instances of which number BAD has ``value`` at its first feature."""
    data = clusters(n, 9, 4)
    data.values[data.indptr[BAD]] = value
    return data


def step_of(network, data, found, **changes):
    optimizer = network.spec.optimizer.replace("momentum", "sgd")
    train = train_config(optimizer=optimizer, momentum=0.8, batch_size=8, **changes)
    return TrainStep(network, data, train, n_active=network.spec.n_labels, non_finite=Watch(found.append))


def network_of(data, **shape):
    settings = {"hidden": (5,), "optimizer": "adagrad", **shape}
    return make_network(NetworkSpec(data.n_features, n_labels=data.n_labels, **settings), 3)


def same(one, other):
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name], err_msg=name)


SHAPES = [
    {},
    {"normalize": False, "bias": True, "loss": "bce"},
    {"hidden": (6, 5), "activation": "relu"},
    {"hidden": (6, 5), "activation": "tanh", "normalize": False},
    {"hidden": (6, 5), "active": (4, 0), "activation": "relu"},
    {"hidden": (6, 5), "active": (0, 3), "activation": "tanh"},
    {"hidden": (6, 5), "active": (4, 3), "normalize": False},
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e38])
def test_a_bad_instance_changes_nothing_and_its_batch_trains(shape, optimizer, value):
    """Two batches with it leave the very bits, in every array and state, that they leave without it."""
    data, found = poisoned(value), []
    networks = [network_of(data, optimizer=optimizer, **shape) for _ in range(2)]
    steps = [step_of(network, data, found) for network in networks]
    every = np.arange(6)
    for sample in (0, 8):
        steps[0].run(every, sample, 0.1, 0.2)
        steps[1].run(np.delete(every, BAD), sample, 0.1, 0.2)
    same(*networks)
    counters = steps[0].counters
    assert counters[Counter.NON_FINITE] == 2 and counters[Counter.SAMPLES] == 12
    assert steps[1].counters[Counter.NON_FINITE] == 0
    assert {one.instance for one in found} == {BAD}
    hashed_first = shape.get("active", (0,))[0] > 0
    assert found[0].layer == ("data" if hashed_first or not np.isfinite(value) else "input")
    feature = data.indices[data.indptr[BAD]]
    assert f"feature {feature}" in found[0].what or hashed_first


def test_randomness_stays_that_of_the_sample():
    """Dropout, random negatives and rounding of the other samples do not depend on the one left out."""
    data = poisoned(np.nan)
    shape = {"dropout": 0.3, "input_dropout": 0.2, "storage": "bfloat16", "n_labels": 9}
    spec = NetworkSpec(data.n_features, hidden=(5,), optimizer="adagrad", **shape)
    networks = [make_network(spec) for _ in range(2)]
    for network in networks:
        rng = np.random.default_rng(1)
        for name in ("input.weights", "output.weights"):
            bits = rng.standard_normal(network.arrays[name].shape, np.float32).view(np.uint32) >> 16
            network.arrays[name][:] = bits.astype(np.uint16)
    train = train_config(optimizer="adagrad", batch_size=8, skip_below=0.2)
    for network, rows in zip(networks, ([0, 1, BAD], [0, 1]), strict=True):
        step = TrainStep(network, data, train, n_active=4, selector=FixedSelector(data, 4))
        step.run(np.array(rows), 16, 0.1, 0.1)
    same(*networks)
    assert networks[0].output.state1.any()


def test_a_batch_of_nothing_but_bad_samples_is_counted():
    """Where no sample of a batch is left, nothing is trained and all are counted."""
    data, found = poisoned(np.nan), []
    network = network_of(data)
    before = {name: array.copy() for name, array in network.arrays.items()}
    step = step_of(network, data, found)
    step.run(np.array([BAD, BAD]), 0, 0.1, 0.1)
    assert step.counters[Counter.NON_FINITE] == step.counters[Counter.SAMPLES] == 2
    assert step.counters[Counter.BATCHES] == 0 and len(found) == 1
    for name, array in network.arrays.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("array", "shape", "layer", "words"),
    [
        ("input.weights", {}, "input", "the weights of feature {row} hold nan"),
        ("input.weights", {"hidden": (6, 5), "active": (4, 0)}, "input", "weights of neuron"),
        ("hidden.1.weights", {"hidden": (6, 5)}, "hidden.1", "the weights of input {row} hold nan"),
        ("hidden.1.weights", {"hidden": (6, 5), "active": (0, 5)}, "hidden.1", "weights of neuron {row}"),
        ("output.weights", {}, "output", "the weights of output {row} hold nan"),
        ("output.bias", {"bias": True}, "output", "the bias of output {row} has the value nan"),
        ("output.weights", {"hidden": (6, 5), "active": (4, 3)}, "output", "weights of output {row} hold"),
    ],
)
@pytest.mark.parametrize("optimizer", ["adagrad", "adam"])
def test_weights_gone_bad_are_named_and_do_not_spread(array, shape, layer, words, optimizer):
    """A NaN in a row of weights leaves out who needs the row; no other number becomes one."""
    data, found = clusters(6, 9, 4), []
    network = network_of(data, optimizer=optimizer, **shape)
    row = int(data.indices[data.indptr[BAD]]) if array == "input.weights" else 3
    if array == "input.weights" and "active" in shape:
        network.arrays[array][:, row] = np.nan  # a hashed layer's rows are neurons
    else:
        network.arrays[array][row, 0] = np.nan
    before = {name: np.isnan(a).sum() for name, a in network.arrays.items() if a.dtype == np.float32}
    step = step_of(network, data, found)
    for sample in (0, 8, 16):
        step.run(np.arange(6), sample, 0.1, 0.1)
    after = {name: (~np.isfinite(network.arrays[name])).sum() for name in before}
    assert after == before
    assert step.counters[Counter.NON_FINITE] >= 3 and step.counters[Counter.SAMPLES] == 18
    assert found[0].layer == layer and words.format(row=row) in found[0].what


def test_logits_that_overflow_are_named_as_the_loss():
    """Finite rows whose logits are infinite: the layer is the loss, with how large the weights are."""
    data, found = clusters(6, 9, 4), []
    network = network_of(data, normalize=False)
    network.output.weights[:] = 3e38
    step = step_of(network, data, found)
    step.run(np.arange(6), 0, 0.1, 0.1)
    assert step.counters[Counter.NON_FINITE] == 6
    assert found[0].layer == "loss" and "reach 3e+38" in found[0].what
    assert np.isfinite(network.layers[0].weights).all()


@pytest.mark.parametrize("shape", [{}, {"hidden": (6, 5)}, {"hidden": (6, 5), "active": (4, 3)}])
def test_a_gradient_that_overflows_is_left_out(shape):
    """Vectors so short that gradients through the normalisation are not finite step no row below."""
    data, found = clusters(6, 9, 4), []
    network = network_of(data, **shape)
    last = network.layers[-1].weights
    last *= 1e-21
    network.biases[-1].weights[:] = 0.0
    step = step_of(network, data, found)
    for sample in (0, 8):
        step.run(np.arange(6), sample, 0.1, 0.1)
    assert step.counters[Counter.NON_FINITE] == 12 and "gradient" in found[0].what
    for name, array in network.arrays.items():
        assert np.isfinite(array).all(), name


def test_gradients_too_long_for_the_optimisers_squares_are_left_out():
    """Finite values times finite gradients whose squares are not: no state of Adagrad becomes infinite."""
    data, found = clusters(6, 9, 4), []
    data.values[:] *= 1e18
    network = network_of(data, normalize=False)
    network.layers[0].weights[:] *= 1e-18
    step = step_of(network, data, found)
    step.run(np.arange(6), 0, 0.1, 0.1)
    assert step.counters[Counter.NON_FINITE] == 6 and found[0].layer == "input"
    assert np.isfinite(network.layers[0].state1).all()


def test_only_the_first_of_a_task_is_told_and_data_apart():
    """A task hands on its first finding in the data, and its first elsewhere; only these get words."""
    told, asked = [], []

    def words(text):
        return lambda: asked.append(text) or text

    watch = Watch(told.append)
    for _ in range(2):
        watch.note(1, "data", words("a"))
        watch.note(2, "data", words("b"))
        watch.note(3, "output", words("c"))
        watch.note(4, "input", words("d"))
        watch.begin()
    assert [tuple(one) for one in told] == [(1, "data", "a"), (3, "output", "c")] * 2
    assert asked == ["a", "c"] * 2


@pytest.mark.parametrize("pool", [0, 96])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_pretraining_leaves_out_a_bad_instance_and_whom_it_is_a_partner_of(pool, value):
    """The instance is named also where it is another's partner; every row stays finite and others learn."""
    data, found = clusters(96, 12, 4), []
    data.values[data.indptr[BAD]] = value
    network = network_of(data, hidden=(8,))
    before = network.layers[0].weights.copy()
    config = PretrainConfig(epochs=1, batch_size=16, partners=2, pool=pool, scale=5.0)
    watch = Watch(found.append)
    step = PretrainStep(network, data, config, train_config(optimizer="adagrad"), non_finite=watch)
    for sample in (0, 96):
        step.run(np.arange(96), sample, 0.05)
        watch.begin()
    bad = step.counters[Counter.NON_FINITE]
    assert 2 <= bad < 40 and step.counters[Counter.PRETRAINED] == 192 - bad
    assert {one.instance for one in found} == {BAD} or value == 1e38
    assert found[0].layer == ("input" if value == 1e38 else "data")
    assert np.isfinite(step.counters[Counter.PRETRAIN_LOSS])
    assert all(np.isfinite(array).all() for array in network.arrays.values())
    assert not np.array_equal(network.layers[0].weights, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_a_warm_start_leaves_out_a_bad_instance(value):
    """The output rows are the sums of the other instances' vectors."""
    data, found = poisoned(value), []
    network, other = (network_of(data, normalize=False) for _ in range(2))
    for one in (network, other):
        one.output.weights[:] = 0.0
    warm_start_add(network, data, np.arange(6), Watch(found.append))
    warm_start_add(other, data, np.delete(np.arange(6), BAD))
    np.testing.assert_array_equal(network.output.weights, other.output.weights)
    assert network.output.weights.any() and [one.instance for one in found] == [BAD]
