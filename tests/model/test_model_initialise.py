"""First values of the network, cut in parts or not, and the warm start."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from distlsh.errors import ShapeError
from distlsh.model.initialise import initialise, part_of, warm_start_add, warm_start_finish
from distlsh.model.spec import NetworkSpec
from tests.model.small import Data, clusters, make_network

SPEC = NetworkSpec(101, (32, 16), 57, bias=True, optimizer="adagrad", adagrad_init=0.25)


@pytest.mark.parametrize("n_parts", [1, 2, 3, 64])
def test_parts_equal_the_whole(n_parts):
    """Any number of parts, in any order, writes what one part writes, over anything that was there."""
    whole, parts = make_network(SPEC), make_network(SPEC, 3)
    initialise(whole, 5)
    for part in reversed(range(n_parts)):
        initialise(parts, 5, part, n_parts)
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(array, parts.arrays[name], err_msg=name)


def test_scales_and_zeros():
    """Rows have the documented deviations; biases and states are zero, but Adagrad's start."""
    network = make_network(SPEC, 1)
    initialise(network, 5)
    assert network.layers[0].weights.std() == pytest.approx(32**-0.5, rel=0.1)
    assert network.layers[1].weights.std() == pytest.approx(32**-0.5, rel=0.15)
    assert network.output.weights.std() == pytest.approx(16**-0.5, rel=0.15)
    for bias in (*network.biases, network.output_bias):
        np.testing.assert_array_equal(bias.weights, 0)
    for block in network.blocks.values():
        np.testing.assert_array_equal(block.state1, 0.25)
    other = make_network(SPEC)
    initialise(other, 6)
    assert np.all(other.layers[0].weights != network.layers[0].weights)
    assert not np.array_equal(other.layers[0].weights[:57, :16], other.output.weights)


def test_hashed_layers_begin_small():
    """A hashed layer's first weights are 0.3 of a dense layer's, of the same inputs; dense ones stay."""
    both = [
        make_network(NetworkSpec(400, (300, 200), 10, "relu", active=active)) for active in ((), (30, 20))
    ]
    for network in both:
        initialise(network, 1)
    for dense, hashed in zip(both[0].layers, both[1].layers, strict=True):
        assert hashed.weights.std() == pytest.approx(0.3 * dense.weights.std(), rel=0.05)
    assert np.array_equal(both[0].output.weights, both[1].output.weights)


def test_a_part_that_is_none_is_refused():
    """Parts are numbered from 0."""
    with pytest.raises(ShapeError, match="part 3 of 3"):
        part_of(10, 3, 3)


@pytest.mark.parametrize("normalize", [True, False])
def test_warm_start_gives_label_centroids(normalize):
    """Multi-label rows add to all their labels; sums become unit vectors or means; unseen rows are small."""
    data = Data(np.eye(4, 6, dtype=np.float32), [[0, 2], [2], [], [4, 0, 2]], 5)
    network = make_network(NetworkSpec(6, (8,), 5, "tanh", normalize), 2)
    initialise(network, 1, warm_start=True)
    np.testing.assert_array_equal(network.output.weights, 0)
    for rows in (np.array([3, 0]), np.array([1, 2])):
        warm_start_add(network, data, rows)
    for first, last in ((0, 2), (2, 5)):
        warm_start_finish(network, data.label_counts(), 1, first, last)
    h, w = network.hidden(data, np.arange(4)), network.output.weights
    for label, rows in {0: [0, 3], 2: [0, 1, 3], 4: [3]}.items():
        mean = h[rows].mean(axis=0)
        expected = mean / np.linalg.norm(mean) if normalize else mean
        np.testing.assert_allclose(w[label], expected, rtol=1e-4, atol=1e-6)
    for label in (1, 3):
        assert 0.01 < np.linalg.norm(w[label]) < 0.3
    assert network.dirty.all()


def test_warm_start_by_threads_equals_serial_where_labels_are_disjoint():
    """Two workers whose instances share no label make the same centroids as one, bit for bit."""
    data = clusters(400, 40, 1)
    spec = NetworkSpec(data.n_features, (16,), 40)
    halves = [np.flatnonzero(data.labels < 20), np.flatnonzero(data.labels >= 20)]
    networks = [make_network(spec), make_network(spec)]
    for network in networks:
        initialise(network, 1, warm_start=True)
    for rows in halves:
        warm_start_add(networks[0], data, rows)
    threads = [threading.Thread(target=warm_start_add, args=(networks[1], data, rows)) for rows in halves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(networks[0].output.weights, networks[1].output.weights)


def test_warm_start_predicts_before_training():
    """Centroids alone classify most unseen instances of a clustered problem."""
    train, test = clusters(1000, 50, 1), clusters(200, 50, 2)
    network = make_network(NetworkSpec(train.n_features, (64,), 50))
    initialise(network, 1, warm_start=True)
    warm_start_add(network, train, np.arange(1000))
    warm_start_finish(network, train.label_counts(), 1, 0, 50)
    scores = network.hidden(test, np.arange(200)) @ network.output.weights.T
    assert np.mean(scores.argmax(axis=1) == test.labels) > 0.7


def test_counts_of_another_size_are_refused():
    """Counts must be one a label."""
    with pytest.raises(ShapeError, match="3 label counts for 57 labels"):
        warm_start_finish(make_network(SPEC), np.zeros(3, np.int64), 1, 0, 57)


def test_hidden_and_output_layers_together_are_the_whole():
    """The two calls that leave out the other's layers write what one call for all writes."""
    whole, halves = make_network(SPEC), make_network(SPEC, 3)
    initialise(whole, 5)
    initialise(halves, 5, layers="output")
    assert not np.array_equal(halves.layers[0].weights, whole.layers[0].weights)
    initialise(halves, 5, layers="hidden")
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(array, halves.arrays[name], err_msg=name)
