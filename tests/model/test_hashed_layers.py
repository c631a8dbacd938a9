"""Networks with hashed hidden layers: against dense ones, and against central differences."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.model.network import Network
from distlsh.model.spec import NetworkSpec
from distlsh.model.step import TrainStep
from tests.model.small import FixedSelector, clusters, make_network
from tests.model.test_train_step import train_config


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
