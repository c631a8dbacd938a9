"""Networks whose rows are stored as bfloat16 train, save and predict like those in float32."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.config.schema import TrainConfig
from distlsh.errors import ShapeError
from distlsh.evaluation.evaluate import exact_labels
from distlsh.model.initialise import initialise, warm_start_add, warm_start_finish
from distlsh.model.network import Network
from distlsh.model.spec import NetworkSpec, parameter_specs
from distlsh.model.step import TrainStep
from distlsh.model.storage import as_floats
from tests.model.small import FixedSelector, clusters


def _network(storage: str, data, optimizer: str = "adagrad") -> Network:
    spec = NetworkSpec(data.n_features, (32,), data.n_labels, storage=storage, optimizer=optimizer)
    network = Network(spec, {a.name: np.zeros(a.shape, a.dtype) for a in parameter_specs(spec)})
    initialise(network, 3, warm_start=True)
    warm_start_add(network, data, np.arange(data.n_rows, dtype=np.int64))
    warm_start_finish(network, data.label_counts(), 3, 0, data.n_labels)
    return network


def _train(network: Network, data, optimizer: str, epochs: int = 2) -> TrainStep:
    train = TrainConfig(optimizer=optimizer, batch_size=32, lr=0.02)
    step = TrainStep(network, data, train, n_active=20, selector=FixedSelector(data, 20))
    for first in range(0, epochs * data.n_rows, 32):
        step.run(np.arange(first, first + 32) % data.n_rows, first, 0.02, 0.02)
    return step


def _precision(network: Network, data) -> float:
    ids, _ = exact_labels(network, network.hidden(data, np.arange(data.n_rows)), 1)
    return float((ids[:, 0] == data.labels).mean())


@pytest.mark.parametrize("optimizer", ["adagrad", "adagrad_row", "adam", "sgd"])
def test_learns_as_much_as_float32(optimizer: str) -> None:
    """Trained on the same samples, precision on other rows is within 0.05 of float32's, and above chance."""
    data, test = clusters(1024, 64, 1), clusters(512, 64, 2)
    found = []
    for storage in ("float32", "bfloat16"):
        network = _network(storage, data, optimizer)
        _train(network, data, optimizer)
        found.append(_precision(network, test))
    assert found[1] > 0.5
    assert abs(found[0] - found[1]) < 0.05


def test_a_run_repeats_bit_for_bit() -> None:
    """Rounding draws from sample, row and column alone: the same samples give the same rows."""
    data = clusters(256, 64, 1)
    found = []
    for _ in range(2):
        network = _network("bfloat16", data)
        _train(network, data, "adagrad", 1)
        found.append({name: array.copy() for name, array in network.arrays.items()})
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name])


def test_warm_start_rows_are_centroids_to_three_digits() -> None:
    """Sums of many vectors keep their direction: cosine with float32's row above 0.999."""
    data = clusters(2048, 8, 1)
    rows = [as_floats(_network(storage, data).output.weights) for storage in ("float32", "bfloat16")]
    cosines = (rows[0] * rows[1]).sum(axis=1) / np.prod([np.linalg.norm(r, axis=1) for r in rows], axis=0)
    assert cosines.min() > 0.999


def test_arrays_take_half_the_bytes_and_the_rest_stays() -> None:
    """Rows of the first layer and the output are uint16; states, biases and marks are as before."""
    full, half = (parameter_specs(NetworkSpec(50, (16, 8), 40, storage=s)) for s in ("float32", "bfloat16"))
    for a, b in zip(full, half, strict=True):
        halved = a.name in ("input.weights", "output.weights")
        assert b.n_bytes == (a.n_bytes // 2 if halved else a.n_bytes), a.name


def test_other_dtype_is_refused() -> None:
    """A float32 checkpoint is not taken for a bfloat16 network: the error names array and dtypes."""
    spec = NetworkSpec(9, (4,), 6)
    arrays = {a.name: np.zeros(a.shape, a.dtype) for a in parameter_specs(spec)}
    with pytest.raises(ShapeError, match=r"input.weights is float32\[9, 4\], the network needs uint16"):
        Network(NetworkSpec(9, (4,), 6, storage="bfloat16"), arrays)


def test_description_of_older_checkpoints_is_float32() -> None:
    """A description without storage, as written before there was a choice, is of float32 rows."""
    told = NetworkSpec(9, (4,), 6).to_dict()
    del told["storage"]
    assert NetworkSpec.from_dict(told).storage == "float32"
