"""The network's arrays, its inference forward pass and its description."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.sparse as sp

from distlsh.config.schema import Config, ModelConfig, TrainConfig
from distlsh.errors import CheckpointError, ShapeError
from distlsh.model.network import Network
from distlsh.model.spec import NetworkSpec, parameter_specs
from tests.model.small import Data, make_network


def test_arrays_of_each_optimiser():
    """Each optimiser has the states it needs, row-wise ones one value wide, and no others."""
    states = {"sgd": [], "momentum": ["state1", "clock"], "adagrad": ["state1"], "adagrad_row": ["state1"]}
    states["adam"] = ["state1", "state2", "clock"]
    for optimizer, wanted in states.items():
        spec = NetworkSpec(9, (4, 3), 6, bias=True, optimizer=optimizer)
        specs = {a.name: a for a in parameter_specs(spec)}
        trained = ["input.weights", "input.bias", "hidden.1.weights", "hidden.1.bias"]
        trained += ["output.weights", "output.bias"]
        names = [n for name in trained for n in (name, *(f"{name}.{state}" for state in wanted))]
        assert list(specs) == [*names, "output.dirty"]
        assert specs["hidden.1.weights"].shape == (4, 3) and specs["output.bias"].shape == (6, 1)
        if optimizer == "adagrad_row":
            assert specs["input.weights.state1"].shape == (9, 1)
        if "clock" in wanted:
            assert specs["output.weights.clock"].shape == (6,)
            assert specs["output.weights.clock"].dtype == "i8"
        assert all(a.persistent and a.lower for a in specs.values())
    assert "output.bias" not in {a.name for a in parameter_specs(NetworkSpec(9, (4,), 6))}


def test_a_config_becomes_a_spec_and_back():
    """Momentum is an optimiser of its own, and a spec survives JSON; a foreign dict is refused."""
    config = Config(
        model=ModelConfig(hidden=[8, 4], bias=True), train=TrainConfig(optimizer="sgd", momentum=0.9)
    )
    spec = NetworkSpec.from_config(config, 10, 20)
    assert spec.optimizer == "momentum" and spec.hidden == (8, 4) and spec.width == 4
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    with pytest.raises(CheckpointError, match="colour"):
        NetworkSpec.from_dict({**spec.to_dict(), "colour": 1})
    with pytest.raises(ShapeError, match="0 labels"):
        NetworkSpec(3, (2,), 0)


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize("normalize", [True, False])
def test_inference_is_the_plain_forward_pass(activation, normalize):
    """The hidden vectors are those of NumPy, without dropout, for data sets and raw CSR arrays."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((6, 9)) * (rng.random((6, 9)) < 0.5)
    x[3] = 0
    data = Data(x.astype(np.float32), [[0]] * 6, 3)
    spec = NetworkSpec(9, (5, 4), 3, activation, normalize, dropout=0.5, input_dropout=0.5)
    network = make_network(spec, 2)
    f = {"linear": lambda v: v, "relu": lambda v: np.maximum(v, 0), "tanh": np.tanh}[activation]
    a = network.arrays
    h = f(x @ a["input.weights"] + a["input.bias"])
    h = f(h @ a["hidden.1.weights"] + a["hidden.1.bias"])
    if normalize:
        h = h / np.maximum(np.linalg.norm(h, axis=1, keepdims=True), 1e-30)
    rows = np.array([5, 0, 3, 3])
    np.testing.assert_allclose(network.hidden(data, rows), h[rows], rtol=1e-4, atol=1e-5)
    csr = sp.csr_array(x.astype(np.float32))
    raw = network.hidden_csr(csr.indptr.astype(np.int64), csr.indices.astype(np.int32), csr.data)
    np.testing.assert_allclose(raw, h, rtol=1e-4, atol=1e-5)


def test_read_only_arrays_serve_inference():
    """Memory-mapped weights that cannot be written are read as they are."""
    spec = NetworkSpec(9, (5,), 3)
    arrays = make_network(spec, 2).arrays
    for array in arrays.values():
        array.flags.writeable = False
    network = Network(spec, arrays)
    assert network.hidden(Data(np.ones((1, 9), np.float32), [[0]], 3), np.array([0])).shape == (1, 5)
    with pytest.raises(ShapeError, match="read-only"):
        network.check_trainable()


def test_wrong_arrays_are_refused():
    """A missing, misshapen or mistyped array is named with what was found and what is needed."""
    spec = NetworkSpec(9, (5,), 3)
    arrays = dict(make_network(spec).arrays)
    for wrong in (np.zeros((9, 4), np.float32), np.zeros((9, 5)), np.zeros((5, 9), np.float32).T):
        with pytest.raises(ShapeError, match=r"input\.weights.*float32\[9, 5\]"):
            Network(spec, {**arrays, "input.weights": wrong})
    del arrays["output.weights"]
    with pytest.raises(ShapeError, match=r"output\.weights is missing"):
        Network(spec, arrays)
