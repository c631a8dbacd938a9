"""A whole training step against central differences, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.config.schema import TrainConfig
from distlsh.errors import ShapeError
from distlsh.model.counters import Counter
from distlsh.model.network import Network
from distlsh.model.spec import NetworkSpec
from distlsh.model.step import TrainStep
from tests.model.small import Data, FixedSelector, clusters, make_network

FUNCTIONS = {"linear": lambda x: x, "relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}


def slow_loss(spec, p, x, labels, active=None) -> float:
    """Return one sample's loss with the given outputs active, all by default, in float64."""
    f = FUNCTIONS[spec.activation]
    h = f(x @ p["input.weights"] + p["input.bias"][0])
    for i in range(1, len(spec.hidden)):
        h = f(h @ p[f"hidden.{i}.weights"] + p[f"hidden.{i}.bias"][0])
    if spec.normalize:
        h = spec.scale * h / np.linalg.norm(h)
    z = p["output.weights"] @ h
    if spec.bias:
        z = z + p["output.bias"][:, 0]
    on = list(range(len(z))) if active is None else active
    if spec.loss == "softmax":
        return float(np.log(np.exp(z[on] - z.max()).sum()) + z.max() - z[labels].mean())
    target = np.zeros(len(z))
    target[labels] = 1
    return float((np.logaddexp(0, z) - target * z)[on].sum())


def slow_gradients(spec, arrays, x, labels, active=None) -> dict[str, np.ndarray]:
    """Return the loss's gradient to every array by central differences."""
    p = {k: v.astype(np.float64) for k, v in arrays.items() if k.endswith(("weights", "bias"))}
    gradients = {k: np.zeros_like(v) for k, v in p.items()}
    for name, array in p.items():
        for place in np.ndindex(array.shape):
            kept, h = array[place], 1e-5
            array[place] = kept + h
            above = slow_loss(spec, p, x, labels, active)
            array[place] = kept - h
            below = slow_loss(spec, p, x, labels, active)
            array[place] = kept
            gradients[name][place] = (above - below) / (2 * h)
    return gradients


def one_sample(seed: int, labels: list[int], n_labels: int = 7) -> Data:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1, 6)) * (rng.random((1, 6)) < 0.7)
    return Data(x.astype(np.float32), [labels], n_labels)


def train_config(**changes) -> TrainConfig:
    settings = {"optimizer": "sgd", "skip_below": 0.0, "batch_size": 4, "seed": 3}
    return TrainConfig(**{**settings, **changes})


@pytest.mark.parametrize("hidden", [(5,), (5, 4), (4, 3, 5)])
@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("loss", ["softmax", "bce"])
@pytest.mark.parametrize("sparse", [True, False])
def test_one_sgd_step_is_the_gradient(hidden, activation, normalize, loss, sparse):
    """SGD moves each array by -lr times its central difference, with all or four outputs active."""
    spec = NetworkSpec(6, hidden, 7, activation, normalize, scale=2.0, bias=True, loss=loss, optimizer="sgd")
    data = one_sample(11, [5, 2])
    network = make_network(spec, 4)
    before = {k: v.copy() for k, v in network.arrays.items()}
    n_active = 4 if sparse else 7
    step = TrainStep(network, data, train_config(), n_active=n_active, selector=FixedSelector(data, 4))
    lr, lr_input = 0.01, 0.02
    step.run(np.array([0]), 0, lr, lr_input)
    active = step.active[0].tolist() if sparse else None
    expected = slow_gradients(spec, before, data.x[0].astype(np.float64), [5, 2], active)
    for name, gradient in expected.items():
        rate = lr_input if name.startswith("input") else lr
        got = (before[name] - network.arrays[name]) / rate
        np.testing.assert_allclose(got, gradient, rtol=2e-3, atol=3e-4, err_msg=name)
    slow = slow_loss(spec, {k: v.astype(np.float64) for k, v in before.items()}, data.x[0], [5, 2], active)
    assert step.counters[Counter.LOSS] == pytest.approx(slow, rel=1e-4)


def test_a_batch_moves_by_the_sum_of_its_gradients():
    """At a small rate a batch of three moves every array by the sum of the three gradients."""
    spec = NetworkSpec(6, (5, 4), 7, "tanh", optimizer="sgd", scale=2.0)
    rng = np.random.default_rng(2)
    data = Data(rng.standard_normal((3, 6)).astype(np.float32), [[1], [], [0, 6]], 7)
    network = make_network(spec, 8)
    before = {k: v.copy() for k, v in network.arrays.items()}
    step = TrainStep(network, data, train_config(), n_active=100)
    step.run(np.array([2, 1, 0]), 0, 1e-3, 1e-3)
    parts = [slow_gradients(spec, before, data.x[i].astype(float), data.label_lists[i]) for i in (0, 2)]
    for name in parts[0]:
        got = (before[name] - network.arrays[name]) / 1e-3
        np.testing.assert_allclose(got, parts[0][name] + parts[1][name], rtol=0.02, atol=0.01, err_msg=name)


def test_gradient_with_dropout_is_that_of_the_thinned_network():
    """With dropout, the step is the gradient of the network whose masks the step drew."""
    spec = NetworkSpec(6, (8,), 7, "linear", False, optimizer="sgd", dropout=0.5)
    data, network = one_sample(3, [4]), make_network(spec, 4)
    before = {k: v.copy() for k, v in network.arrays.items()}
    step = TrainStep(network, data, train_config(), n_active=7)
    step.run(np.array([0]), 40, 0.01, 0.01)
    mask = step.stack.layers[0].mask[0].astype(np.float64)
    assert 0 < np.count_nonzero(mask) < 8 and set(mask) == {0.0, 2.0}
    thinned = {k: v.astype(np.float64) for k, v in before.items()}
    thinned["output.weights"] = thinned["output.weights"] * mask
    expected = slow_gradients(NetworkSpec(6, (8,), 7, "linear", False), thinned, data.x[0].astype(float), [4])
    for name in ("input.weights", "input.bias", "output.weights"):
        got = (before[name] - network.arrays[name]) / 0.01
        wanted = expected[name] * (mask if name == "output.weights" else 1.0)
        np.testing.assert_allclose(got, wanted, rtol=2e-3, atol=3e-4, err_msg=name)


def run_all(optimizer: str, batches: list[np.ndarray], batch_size: int = 4, **spec) -> Network:
    data = clusters(40, 30, 1)
    train = train_config(optimizer=optimizer.replace("momentum", "sgd"), batch_size=batch_size, momentum=0.5)
    network = make_network(NetworkSpec(data.n_features, (8, 6), 30, optimizer=optimizer, **spec), 5)
    step = TrainStep(network, data, train, n_active=9, selector=FixedSelector(data, 9))
    sample = 0
    for rows in batches:
        step.run(rows, sample, 0.05, 0.02)
        sample += len(rows)
    return network


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adagrad", "adagrad_row", "adam"])
def test_the_same_steps_repeat_bit_for_bit(optimizer):
    """Dropout, random fill and rounding come from the sample numbers alone: a repeat is identical."""
    batches = list(np.arange(40).reshape(10, 4))
    networks = [run_all(optimizer, batches, dropout=0.2, input_dropout=0.3) for _ in range(2)]
    for name, array in networks[0].arrays.items():
        np.testing.assert_array_equal(array, networks[1].arrays[name], err_msg=name)
        assert np.isfinite(array).all()


def test_a_sample_draws_the_same_in_any_batch():
    """Masks depend on the sample's number, not on its place in a batch."""
    spec = NetworkSpec(6, (16,), 7, dropout=0.5, input_dropout=0.5)
    data = Data(np.ones((4, 6), np.float32), [[0]] * 4, 7)
    steps = [TrainStep(make_network(spec, 1), data, train_config(), n_active=7) for _ in range(2)]
    steps[0].run(np.arange(4), 100, 0.0, 0.0)
    steps[1].run(np.arange(2, 4), 102, 0.0, 0.0)
    np.testing.assert_array_equal(steps[0].stack.layers[0].mask[2:], steps[1].stack.layers[0].mask[:2])
    np.testing.assert_array_equal(
        steps[0].stack.layers[0].out.values[2:], steps[1].stack.layers[0].out.values[:2]
    )


def test_counters_of_a_sparse_and_a_dense_batch():
    """Multiply-adds, samples, active neurons and updated rows are those counted by hand."""
    data = Data(np.ones((2, 3), np.float32), [[0], [1]], 10)
    spec = NetworkSpec(3, (4, 5), 10, optimizer="sgd")
    below = 2 * (2 * 3 * 4) + 3 * (2 * 4 * 5)
    for n_active, active in ((6, 6), (10, 10)):
        step = TrainStep(
            make_network(spec, 1), data, train_config(), n_active=n_active, selector=FixedSelector(data, 6)
        )
        step.run(np.arange(2), 0, 0.01, 0.01)
        counters = step.counters
        assert counters[Counter.SAMPLES] == counters[Counter.LABELLED] == 2
        assert counters[Counter.ACTIVE] == counters[Counter.ROWS_UPDATED] == 2 * active
        assert counters[Counter.MACS] == below + 3 * 2 * active * 5
        assert counters[Counter.DENSE_MACS] == below + 3 * 2 * 10 * 5
        assert counters[Counter.BATCHES] == 1


def test_instances_without_features_or_labels_are_harmless():
    """Empty rows train without NaN; without labels the softmax changes no output row."""
    data = Data(np.zeros((2, 6), np.float32), [[], [3]], 7)
    network = make_network(NetworkSpec(6, (5,), 7, bias=True), 1)
    network.arrays["input.bias"][:] = 0.0
    before = network.output.weights.copy()
    step = TrainStep(network, data, train_config(optimizer="adagrad"), n_active=7)
    step.run(np.array([0]), 0, 0.1, 0.1)
    np.testing.assert_array_equal(before, network.output.weights)
    step.run(np.array([0, 1]), 1, 0.1, 0.1)
    assert all(np.isfinite(array).all() for array in network.arrays.values())
    assert step.counters[Counter.LABELLED] == 1


def test_a_network_gone_bad_is_counted():
    """A NaN in the first layer shows as non-finite samples."""
    network = make_network(NetworkSpec(6, (5,), 7), 1)
    network.layers[0].weights[:] = np.nan
    step = TrainStep(network, one_sample(11, [5]), train_config(), n_active=7)
    step.run(np.array([0]), 0, 0.1, 0.1)
    assert step.counters[Counter.NON_FINITE] == 1
    assert np.isfinite(network.output.weights).all()


def test_what_does_not_fit_is_refused():
    """Foreign data, missing states, a missing selector and wrong batches raise ShapeError."""
    data, spec = one_sample(1, [5]), NetworkSpec(6, (5,), 7)
    network = make_network(spec, 1)
    with pytest.raises(ShapeError, match="9 labels"):
        TrainStep(network, one_sample(1, [8], n_labels=9), train_config(), n_active=7)
    with pytest.raises(ShapeError, match="selector"):
        TrainStep(network, data, train_config(), n_active=6)
    bare = Network(spec, {k: v for k, v in network.arrays.items() if "state" not in k})
    with pytest.raises(ShapeError, match=r"input\.weights.*states"):
        TrainStep(bare, data, train_config(), n_active=7)
    step = TrainStep(network, data, train_config(), n_active=7)
    for rows in (np.arange(0), np.zeros(5, np.int64)):
        with pytest.raises(ShapeError, match="batch"):
            step.run(rows, 0, 0.1, 0.1)


@pytest.mark.parametrize(
    ("optimizer", "lr", "options"),
    [
        ("sgd", 0.1, {}),
        ("momentum", 0.02, {}),
        ("adagrad", 0.05, {}),
        ("adagrad", 0.05, {"loss": "bce", "bias": True}),
        ("adagrad", 0.05, {"input_dropout": 0.2, "dropout": 0.1, "log_q": True}),
        ("adagrad", 0.05, {"activation": "relu", "normalize": False, "hidden": (48, 32)}),
        ("adagrad_row", 0.1, {}),
        ("adam", 0.005, {}),
    ],
)
def test_it_learns(optimizer, lr, options):
    """From random weights and 20 random negatives, P@1 of a learnable problem rises above 0.8."""
    train, test, n_labels = clusters(2000, 50, 1), clusters(300, 50, 2), 50
    shape = {"hidden": (32,), "optimizer": optimizer, **options}
    spec = NetworkSpec(train.n_features, n_labels=n_labels, **shape)
    network = make_network(spec, 1)
    for block in network.blocks.values():
        block.weights[:] *= 0.3
    config = train_config(
        optimizer=optimizer.replace("momentum", "sgd"), momentum=0.8, skip_below=0.01, batch_size=16
    )
    step = TrainStep(network, train, config, n_active=20, selector=FixedSelector(train, 20))
    order, sample = np.random.default_rng(1), 0
    for _ in range(5):
        for rows in order.permutation(2000).reshape(-1, 16):
            step.run(rows, sample, lr, lr)
            sample += len(rows)
    scores = network.hidden(test, np.arange(300)) @ network.output.weights.T
    if spec.bias:
        scores = scores * spec.logit_scale + network.output_bias.weights[:, 0]
    assert np.mean(scores.argmax(axis=1) == test.labels) > 0.8
    assert step.counters[Counter.NON_FINITE] == 0
