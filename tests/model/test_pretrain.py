"""Contrastive pretraining of the first layer."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.config.schema import PretrainConfig, TrainConfig
from distlsh.errors import ShapeError
from distlsh.model.counters import Counter
from distlsh.model.initialise import initialise, reset_states, warm_start_add, warm_start_finish
from distlsh.model.pretrain import LabelInstances, PretrainStep
from distlsh.model.schedule import pretrain_lr_at
from distlsh.model.spec import NetworkSpec
from tests.model.small import Data, clusters, make_network

OPTIMIZERS = ["sgd", "momentum", "adagrad", "adagrad_row", "adam"]


def spec_of(data, optimizer="sgd", width=16):
    return NetworkSpec(data.n_features, (width,), data.n_labels, "linear", True, optimizer=optimizer)


def step_of(network, data, optimizer="sgd", **changes):
    settings = {"epochs": 1, "batch_size": 32, "partners": 4, "scale": 8.0}
    momentum = 0.5 if optimizer == "momentum" else 0.0
    train = TrainConfig(optimizer="sgd" if optimizer == "momentum" else optimizer, momentum=momentum, seed=3)
    return PretrainStep(network, data, PretrainConfig(**{**settings, **changes}), train)


def epochs(step, n, lr, chunk=200):
    """Pretrain for ``n`` passes at a falling rate; return the mean loss of each."""
    losses, rows, at = [], step.dataset.n_rows, 0
    for epoch in range(n):
        order = np.random.default_rng(epoch).permutation(rows)
        before = step.counters.copy()
        for first in range(0, rows, chunk):
            step.run(order[first : first + chunk], at + first, lr * (1 - epoch / n))
        at += rows
        done = step.counters - before
        losses.append(done[Counter.PRETRAIN_LOSS] / done[Counter.PRETRAINED])
    return losses


def ready(data, optimizer="adagrad", seed=1):
    network = make_network(spec_of(data, optimizer))
    initialise(network, seed)
    return network


def precision_of_label_means(network, train, test):
    """P@1 on ``test`` of output rows that are the labels' mean hidden vectors in ``train``."""
    network.output.weights[:] = 0.0
    warm_start_add(network, train, np.arange(train.n_rows))
    warm_start_finish(network, train.label_counts(), 1, 0, train.n_labels)
    best = (network.hidden(test, np.arange(test.n_rows)) @ network.output.weights.T).argmax(1)
    return float(np.mean(best == test.labels))


@pytest.mark.parametrize(
    ("optimizer", "lr"),
    [("sgd", 0.01), ("momentum", 0.005), ("adagrad", 0.1), ("adagrad_row", 0.1), ("adam", 0.003)],
)
def test_pretraining_helps_instances_it_has_not_seen(optimizer, lr):
    """The loss falls, and means of pretrained vectors find the labels of held-out instances more often."""
    train, test = clusters(1200, 60, 1), clusters(400, 60, 2)
    network = ready(train, optimizer)
    before = precision_of_label_means(network, train, test)
    losses = epochs(step_of(network, train, optimizer), 6, lr)
    assert losses[-1] < 0.7 * losses[0]
    assert precision_of_label_means(network, train, test) > before + 0.05


def slow_loss(weights, x, others, labels, scale):
    """Return the summed loss of queries x and sums of partners, float64 [m, n_features] both."""
    unit = [
        a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-300)
        for a in (x @ weights, others @ weights)
    ]
    z = scale * unit[0] @ unit[1].T
    z[(labels[:, None] == labels) & ~np.eye(len(labels), dtype=bool)] = -np.inf
    return float((np.log(np.exp(z).sum(1)) - np.diag(z)).sum())


def test_one_sgd_step_is_the_gradient():
    """SGD moves the first layer by -lr times the central difference of the loss, through both sides."""
    data = clusters(30, 6, 4)
    rows, step = np.arange(12), step_of(network := make_network(spec_of(data, width=5), 2), data, partners=99)
    others = np.array(
        [sum(data.x[j] for j in range(30) if j != i and data.labels[j] == data.labels[i]) for i in rows]
    )
    alone = [i for i in rows if np.isscalar(others[i])]
    assert not alone, "every label of the batch has two instances"
    before = network.layers[0].weights.astype(np.float64)
    step.run(rows, 0, lr := 1e-3)
    got, h = (before - network.layers[0].weights) / lr, 1e-6
    expected = np.zeros_like(before)
    args = (data.x[rows].astype(np.float64), others.astype(np.float64), data.labels[rows], 8.0)
    for place in np.ndindex(before.shape):
        moved = np.zeros_like(before)
        moved[place] = h
        expected[place] = (slow_loss(before + moved, *args) - slow_loss(before - moved, *args)) / (2 * h)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(got, expected, rtol=5e-3, atol=2e-3)
    assert step.counters[Counter.PRETRAIN_LOSS] == pytest.approx(slow_loss(before, *args), rel=1e-4)
    assert step.counters[Counter.PRETRAINED] == 12


def test_only_the_first_layers_weights_change():
    """Biases and output rows keep their values."""
    data = clusters(200, 20, 1)
    network = make_network(spec_of(data), 7)
    before = {name: array.copy() for name, array in network.arrays.items()}
    step_of(network, data).run(np.arange(200), 0, 0.1)
    changed = {name for name, array in network.arrays.items() if not np.array_equal(array, before[name])}
    assert changed == {"input.weights"}


@pytest.mark.parametrize("pool", [0, 100])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_ranges_give_the_same_bits(optimizer, pool):
    """Two steps that make the same ranges leave equal arrays, whatever the second did before."""
    data, found = clusters(500, 40, 1), []
    for earlier in (0, 3):
        network = ready(data, optimizer)
        step = step_of(network, data, optimizer, pool=pool)
        epochs(step, earlier, 0.1)
        initialise(network, 1)
        epochs(step, 2, 0.05)
        found.append({name: array.copy() for name, array in network.arrays.items()})
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name], err_msg=name)


def test_adams_first_steps_are_of_the_size_of_the_rate():
    """Steps are numbered batch by batch, so that Adam's corrections fit its moments."""
    data = clusters(640, 10, 1)
    network = ready(data, "adam")
    step, lr = step_of(network, data, "adam"), 1e-4
    for i in range(10):
        before = network.layers[0].weights.copy()
        step.run(np.arange(64 * i, 64 * i + 64), 64 * i, lr)
        moved = np.abs(network.layers[0].weights - before).max()
        assert 0 < moved < 1.5 * lr * 2  # two batches, and one step a batch
    clock = network.layers[0].clock
    assert clock.max() == 20


def test_odd_instances_are_left_out_and_nothing_breaks():
    """Without labels, without features, labels repeated in one instance or held by one alone."""
    x = np.eye(8, 12, dtype=np.float32)
    x[3] = 0.0
    labels = [[0], [0, 0], [], [0], [1, 1], [2], [0, 3], [3]]
    data = Data(x, labels, 5)
    network = make_network(spec_of(data), 3)
    step = step_of(network, data, batch_size=3)
    step.run(np.arange(8), 0, 0.1)
    assert step.counters[Counter.PRETRAINED] == 5  # 0, 1, 3, 6, 7
    assert np.isfinite(network.layers[0].weights).all() and not step.counters[Counter.NON_FINITE]


@pytest.mark.parametrize("labels", [[[i] for i in range(6)], [[]] * 6, [[i, i] for i in range(6)]])
def test_labels_that_nobody_shares_leave_everything_as_it_was(labels):
    """Where no label has two instances, a run does nothing."""
    data = Data(np.eye(6, 7, dtype=np.float32), labels, 6)
    network = make_network(spec_of(data), 3)
    before, step = network.layers[0].weights.copy(), step_of(network, data)
    step.run(np.arange(6), 0, 0.1)
    np.testing.assert_array_equal(network.layers[0].weights, before)
    assert step.counters.sum() == 0


@pytest.mark.parametrize("n", [0, 1, 2, 33, 65])
def test_ranges_of_any_size_are_cut_into_batches_of_equal_size(n):
    """A range is trained whole, whatever is left over; the beat comes between batches."""
    data, beats = clusters(100, 3, 1), []
    step = step_of(ready(data), data, batch_size=32)
    step.run(np.arange(n), 0, 0.1, beat=lambda: beats.append(step.counters[Counter.PRETRAINED]))
    assert step.counters[Counter.PRETRAINED] == n and len(beats) == max(0, -(-n // 32) - 1)
    sizes = np.diff([0, *beats, n])
    assert n == 0 or sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("pool", [0, 1000])
def test_weights_that_are_no_numbers_are_counted_and_change_nothing_else(pool):
    """A batch whose loss is not finite steps no row."""
    data = clusters(60, 5, 1)
    network = ready(data)
    network.layers[0].weights[:] = np.nan
    before, step = network.layers[0].weights.copy(), step_of(network, data, batch_size=16, pool=pool)
    step.run(np.arange(60), 0, 0.1)
    assert step.counters[Counter.NON_FINITE] == 60
    np.testing.assert_array_equal(network.layers[0].weights, before)


@pytest.mark.parametrize("width", [16, 100])
def test_a_pools_batches_are_harder(width):
    """At the same weights, batches of alike instances have a larger loss; of all the instances, once each."""
    data, losses = clusters(1200, 60, 1), {}
    for pool in (0, 40, 400, 5000):
        network = make_network(spec_of(data, "adagrad", width))
        initialise(network, 1)
        step = step_of(network, data, "adagrad", batch_size=40, pool=pool)
        step.run(np.random.default_rng(1).permutation(1200), 0, 1e-9)
        assert step.counters[Counter.PRETRAINED] == 1200
        losses[pool] = step.counters[Counter.PRETRAIN_LOSS]
    assert losses[40] == losses[0], "a pool of one batch leaves nothing to choose"
    assert losses[5000] > losses[400] > 1.1 * losses[0]


def test_the_largest_seed_trains():
    """Random numbers that count on from the seed begin again at 0 behind the largest."""
    data = clusters(64, 8, 1)
    network, train = ready(data), TrainConfig(optimizer="adagrad", seed=2**64 - 1)
    step = PretrainStep(network, data, PretrainConfig(epochs=1, batch_size=32), train)
    step.run(np.arange(64), 2**40, 0.1)
    assert step.counters[Counter.PRETRAINED] == 64


def test_the_rate_falls_within_a_range():
    """Batches take rates between the first and the last, so that a long range is not one stair."""
    data, moved = clusters(1200, 60, 1), {}
    for last_lr in (None, 0.0):
        network = ready(data, "sgd")
        before = network.layers[0].weights.copy()
        step_of(network, data, "sgd").run(np.arange(1200), 0, 1e-4, last_lr)
        moved[last_lr] = float(np.abs(network.layers[0].weights - before).sum())
    assert 0.4 * moved[None] < moved[0.0] < 0.8 * moved[None]


def test_networks_of_two_hidden_layers_are_refused():
    """There is one layer to pretrain; the message says what was found."""
    data = clusters(60, 5, 1)
    network = make_network(NetworkSpec(data.n_features, (8, 8), 5, "linear", True, optimizer="sgd"), 1)
    with pytest.raises(ShapeError, match="this network has 2"):
        step_of(network, data)


def test_label_instances_of_a_dataset_without_rows():
    """No instances: every list is empty."""
    empty = LabelInstances.of(Data(np.zeros((0, 3), np.float32), [], 4))
    assert empty.starts.tolist() == [0] * 5 and len(empty.rows) == 0


def test_the_rate_falls_to_nothing_over_all_passes():
    """Linear from lr to 0 at the last sample, never below."""
    config = PretrainConfig(epochs=2, lr=0.5)
    assert [pretrain_lr_at(config, s, 100) for s in (0, 100, 200, 300)] == [0.5, 0.25, 0.0, 0.0]


def test_states_are_made_new_for_the_training():
    """After it the optimiser's sums start where they are told to, part by part; weights stay."""
    data = clusters(300, 20, 1)
    network = ready(data, "adagrad")
    epochs(step_of(network, data, "adagrad"), 1, 0.1)
    weights = network.layers[0].weights.copy()
    assert network.layers[0].state1.any()
    for part in range(3):
        reset_states(network, network.layers, part, 3, 0.25)
    assert (network.layers[0].state1 == 0.25).all()
    np.testing.assert_array_equal(network.layers[0].weights, weights)


def test_bfloat16_rows_are_rounded_without_bias():
    """A first layer of half the memory learns as well as one of float32, in tiny steps too."""
    train, found = clusters(1200, 60, 1), {}
    for storage in ("float32", "bfloat16"):
        spec = NetworkSpec(train.n_features, (16,), 60, "linear", True, optimizer="sgd", storage=storage)
        network = make_network(spec)
        initialise(network, 1)
        step = step_of(network, train)
        found[storage] = epochs(step, 8, 0.003)[-1]
    assert found["bfloat16"] == pytest.approx(found["float32"], rel=0.05)
