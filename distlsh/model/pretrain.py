"""Contrastive pretraining of the first layer, before the output rows exist.

What makes a label's next instance similar to those it has?  Each instance is a query; what it should
find is the sum of the *other* instances of one of its labels, among such sums of the rest of its batch.
An output row learns from its own label's instances alone, of which most labels of a wide output have one
or two; the first layer learns here from all labels at once, also for labels of a single instance.  The
warm start then makes the output rows from it.

The instance is left out of its own label's sum: a sum that held it would be found without learning anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distlsh.config.schema import PretrainConfig, TrainConfig
from distlsh.errors import ShapeError
from distlsh.kernels.hidden_layer import normalize_backward, normalize_forward
from distlsh.kernels.input_layer import input_backward, input_forward
from distlsh.kernels.pretrain import (
    choose_labels,
    choose_partners,
    contrastive_gradient,
    group_by_label,
    join_instances,
)
from distlsh.kernels.random import sample_seeds
from distlsh.model.counters import N_COUNTERS, Counter
from distlsh.model.network import Instances, Network
from distlsh.model.spec import OPTIMIZER_CODES, Floats, Ids, Offsets, Seeds, optimizer_settings

_SALT = 0x70726574  # its own random numbers, whatever the later training draws
_ROUND = 1  # likewise for rounding
_MOST = 8192  # instances of a batch


@dataclass(frozen=True, slots=True)
class LabelInstances:
    """The instances of each label: those of label l are ``rows[starts[l]:starts[l + 1]]``, ascending.

    starts  i8[n_labels+1]
    rows    i4[entries]
    """

    starts: Offsets
    rows: Ids

    @classmethod
    def of(cls, dataset: Instances) -> LabelInstances:
        """Return those of ``dataset``; a label that an instance repeats counts once."""
        starts, last = np.empty(dataset.n_labels + 1, np.int64), np.empty(dataset.n_labels, np.int32)
        rows = np.empty(len(dataset.labels), np.int32)
        n = group_by_label(dataset.label_indptr, dataset.labels, starts, rows, last)
        return cls(starts, rows[:n])


class _Side:
    """A batch's instances on one side of the comparison: hidden vectors and the gradients to them."""

    def __init__(self, batch: int, width: int) -> None:
        self.unit: Floats = np.empty((batch, width), np.float32)
        self.delta: Floats = np.empty((batch, width), np.float32)
        self.norms: Floats = np.empty(batch, np.float32)
        self.seeds: Seeds = np.zeros(batch, np.uint64)


class PretrainStep:
    """Trains the first layer of ``network`` on ranges of instances of ``dataset``; owns its scratch.

    The same range, sample number and rate by one worker give the same step, bit for bit.  A batch is two
    steps of the optimiser: one along the gradients of its queries, one along those of what they should find.

    Source: InfoNCE (van den Oord et al. 2018), in-batch negatives (Karpukhin et al. 2020, 3.2); two towers
    over one embedding, as in DeepXML and SiameseXML (Dahiya et al. 2021), with a label's text its instances.
    """

    def __init__(
        self,
        network: Network,
        dataset: Instances,
        config: PretrainConfig,
        train: TrainConfig,
        *,
        counters: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Allocate, and list the instances of each label.

        config    batch size, partners and scale; rate and passes are the caller's
        train     gives the seed and the optimiser's settings
        counters  f8[N_COUNTERS], added to

        Raises ShapeError where data and network do not fit.
        """
        network.check_fits(dataset)
        network.check_trainable()
        if len(network.layers) != 1:
            raise ShapeError(f"pretraining is for one hidden layer; this network has {len(network.layers)}")
        self.network, self.dataset, self.config = network, dataset, config
        self.counters = np.zeros(N_COUNTERS) if counters is None else counters
        self._by_label = LabelInstances.of(dataset)
        self._seed = train.seed ^ _SALT
        self._code = OPTIMIZER_CODES[network.spec.optimizer]
        self._hyper = optimizer_settings(train, self._code)
        batch, width = config.batch_size, network.spec.width
        self._query, self._target = _Side(batch, width), _Side(batch, width)
        self._cosines: Floats = np.empty((batch, batch), np.float32)
        self._state: Seeds = np.empty(1, np.uint64)
        self._ends, self._places = np.empty(batch + 1, np.int64), np.empty(batch + 1, np.int64)
        self._partners: Offsets = np.empty(batch * config.partners, np.int64)
        self._joined: tuple[Ids, Floats] = (np.empty(0, np.int32), np.empty(0, np.float32))

    def run(
        self, rows: Offsets, first_sample: int, lr: float, beat: Callable[[], object] = lambda: None
    ) -> None:
        """Train on instances ``rows`` i8[m], in batches of equal size; those sharing no label are left out.

        first_sample  number of the range's first sample since the start of the pretraining
        lr            learning rate
        beat          called after each batch
        """
        sample_seeds(self._seed, first_sample, self._state)
        kept, labels = np.empty(len(rows), np.int64), np.empty(len(rows), np.int32)
        data, starts, size = self.dataset, self._by_label.starts, self.config.batch_size
        n = choose_labels(data.label_indptr, data.labels, starts, rows, self._state, kept, labels)
        n_batches = -(-n // size)
        for i in range(n_batches):
            first, last = n * i // n_batches, n * (i + 1) // n_batches
            self._batch(kept[first:last], labels[first:last], lr, 1 + 2 * (first_sample // size + i))
            beat()

    def _batch(self, rows: Offsets, labels: Ids, lr: float, step: int) -> None:
        m, data, scale = len(rows), self.dataset, self.config.scale
        queries = (data.indptr, data.indices, data.values, rows)
        targets = (*self._join_partners(rows, labels), np.arange(m, dtype=np.int64))
        query = self._forward(self._query, queries)
        target = self._forward(self._target, targets)
        cosines = self._cosines.reshape(-1)[: m * m].reshape(m, m)
        np.dot(query, target.T, out=cosines)
        loss = contrastive_gradient(cosines, labels, scale)
        self._count(m, loss, int(targets[0][m]) + int((data.indptr[rows + 1] - data.indptr[rows]).sum()))
        if not np.isfinite(loss):
            self.counters[Counter.NON_FINITE] += m
            return
        np.dot(cosines, target, out=self._query.delta[:m])
        np.dot(cosines.T, query, out=self._target.delta[:m])
        self._backward(self._query, queries, lr, step)
        self._backward(self._target, targets, lr, step + 1)

    def _join_partners(self, rows: Offsets, labels: Ids) -> tuple[Offsets, Ids, Floats]:
        """Return the features of the other instances of each row's label, CSR with a row a sample."""
        m, data, by_label = len(rows), self.dataset, self._by_label
        ends, places = self._ends[: m + 1], self._places[: m + 1]
        lists = (by_label.starts, by_label.rows, rows, labels)
        n = choose_partners(*lists, self.config.partners, self._state, ends, self._partners)
        partners = self._partners[:n]
        wanted = int((data.indptr[partners + 1] - data.indptr[partners]).sum())
        if len(self._joined[0]) < wanted:
            room = wanted + wanted // 4  # seldom to grow again
            self._joined = (np.empty(room, np.int32), np.empty(room, np.float32))
        join_instances(data.indptr, data.indices, data.values, ends, partners, places, *self._joined)
        return places, *self._joined

    def _forward(self, side: _Side, instances: tuple[Offsets, Ids, Floats, Offsets]) -> Floats:
        m = len(instances[3])
        unit = side.unit[:m]
        input_forward(*instances, side.seeds[:m], 1.0, self.network.layers[0].weights, unit)
        normalize_forward(unit, unit, side.norms[:m])
        return unit

    def _backward(
        self, side: _Side, instances: tuple[Offsets, Ids, Floats, Offsets], lr: float, step: int
    ) -> None:
        m = len(instances[3])
        sample_seeds(self._seed ^ _ROUND, step * _MOST, side.seeds[:m])  # of the rounding of bfloat16 rows
        normalize_backward(side.unit[:m], side.norms[:m], side.delta[:m])
        layer = self.network.layers[0].views
        rate = (lr, self._hyper, step)
        input_backward(*instances, side.seeds[:m], 1.0, side.delta[:m], self._code, *layer, *rate)

    def _count(self, m: int, loss: float, n_features: int) -> None:
        self.counters[Counter.PRETRAINED] += m
        self.counters[Counter.PRETRAIN_LOSS] += loss
        self.counters[Counter.MACS] += (2 * n_features + 3 * m * m) * self.network.spec.width
