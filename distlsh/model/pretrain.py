"""Contrastive pretraining of the first layer, before the output rows exist.

What makes a label's next instance similar to those it has?  Each instance is a query; what it should
find is the sum of the *other* instances of one of its labels, among such sums of the rest of its batch.
An output row learns from its own label's instances alone, of which most labels of a wide output have one
or two; the first layer learns here from all labels at once, also for labels of a single instance.  The
warm start then makes the output rows from it.

Batches of instances that are alike (``pretrain.pool``) make each other's partners hard negatives.  They are
grouped anew each pass by the vectors as they are then.

The instance is left out of its own label's sum: a sum that held it would be found without learning anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distlsh.config.schema import PretrainConfig, TrainConfig
from distlsh.constants import SKETCH, SKETCH_BLOCK
from distlsh.errors import ShapeError
from distlsh.kernels.by_feature import group_by_feature, step_features
from distlsh.kernels.finite import MOST
from distlsh.kernels.hidden_layer import normalize_backward, normalize_forward
from distlsh.kernels.input_layer import input_forward
from distlsh.kernels.pretrain import (
    choose_labels,
    choose_partners,
    contrastive_gradient,
    group_by_label,
    join_instances,
)
from distlsh.kernels.random import sample_seeds
from distlsh.model.alike import alike_groups
from distlsh.model.counters import N_COUNTERS, Counter
from distlsh.model.finite import DATA, LOSS, Watch, Words, in_instance, squares, too_large
from distlsh.model.network import Instances, Network
from distlsh.model.spec import OPTIMIZER_CODES, Floats, Ids, Offsets, Seeds, layer_name, optimizer_settings

_SALT = 0x70726574  # its own random numbers, whatever the later training draws
_ROUND = 1  # likewise for rounding


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


class _Entries:
    """Features of a batch's instances: by instance, and by feature.  Grows with the batches it sees.

    ends              i8[2*batch+1]: places of each instance in
    indices, values   i4, f4[room]
    features, starts  i4, i8, room for all distinct features: these, and the places of each in
    rows, weights     i4, f4[room]: instances of the batch, and values
    """

    def __init__(self, batch: int, n_features: int) -> None:
        self.ends: Offsets = np.empty(2 * batch + 1, np.int64)
        self._places: Ids = np.zeros(n_features, np.int32)
        self._make(0)

    def _make(self, room: int) -> None:
        self.indices, self.rows = (np.empty(room, np.int32) for _ in range(2))
        self.values, self.weights = (np.empty(room, np.float32) for _ in range(2))
        distinct = min(room, len(self._places))
        self.features: Ids = np.empty(distinct, np.int32)
        self.starts: Offsets = np.empty(distinct + 1, np.int64)

    def ensure(self, wanted: int) -> None:
        """Make room for ``wanted`` features and a quarter more, so that it seldom has to be made again."""
        if len(self.indices) < wanted:
            self._make(wanted + wanted // 4)

    def grouped(self, m: int) -> tuple[Ids, Offsets, Ids, Floats]:
        """Return distinct features of the first ``m`` instances, starts, instances and values."""
        out = (self.features, self.starts, self.rows, self.weights)
        n = group_by_feature(self.ends[: m + 1], self.indices, self.values, self._places, *out)
        return self.features[:n], self.starts[: n + 1], self.rows, self.weights


class PretrainStep:
    """Trains the first layer of ``network`` on ranges of instances of ``dataset``; owns its scratch.

    The same range, sample number and rate by one worker give the same step, bit for bit.  A batch is one
    step of the optimiser, for each feature that any of it has: along the sum of all gradients to its row.

    Source: InfoNCE (van den Oord et al. 2018), in-batch negatives (Karpukhin et al. 2020, 3.2); two towers
    over one embedding, as in DeepXML and SiameseXML (Dahiya et al. 2021), with a label's text its instances;
    batches of alike instances, NGAME (Dahiya et al. 2023), section 4.1.
    """

    def __init__(
        self,
        network: Network,
        dataset: Instances,
        config: PretrainConfig,
        train: TrainConfig,
        *,
        counters: npt.NDArray[np.float64] | None = None,
        non_finite: Watch | None = None,
    ) -> None:
        """Allocate, and list the instances of each label.

        config    batch size, partners and scale; rate and passes are the caller's
        train     gives the seed and the optimiser's settings
        counters  f8[N_COUNTERS], added to
        non_finite  is told of instances that were left out

        Raises ShapeError where data and network do not fit.
        """
        network.check_fits(dataset)
        network.check_trainable()
        if len(network.layers) != 1:
            raise ShapeError(f"pretraining is for one hidden layer; this network has {len(network.layers)}")
        self.network, self.dataset, self.config = network, dataset, config
        self.counters = np.zeros(N_COUNTERS) if counters is None else counters
        self._non_finite = non_finite or Watch()
        self._by_label = LabelInstances.of(dataset)
        self._seed = train.seed ^ _SALT
        self._code = OPTIMIZER_CODES[network.spec.optimizer]
        self._hyper = optimizer_settings(train, self._code)
        batch, width = config.batch_size, network.spec.width
        # Queries of a batch of m are rows 0 to m, what they should find rows m to 2m.
        self._unit: Floats = np.empty((2 * batch, width), np.float32)
        self._delta: Floats = np.empty((2 * batch, width), np.float32)
        self._norms: Floats = np.empty(2 * batch, np.float32)
        self._seeds: Seeds = np.zeros(2 * batch, np.uint64)
        self._gradient: Floats = np.empty((1, width), np.float32)
        self._entries = _Entries(batch, network.spec.n_features)
        self._cosines: Floats = np.empty((batch, batch), np.float32)
        self._state: Seeds = np.empty(1, np.uint64)
        self._ends: Offsets = np.empty(2 * batch + 1, np.int64)
        self._members: Offsets = np.empty(batch * (1 + config.partners), np.int64)

    def run(
        self,
        rows: Offsets,
        first_sample: int,
        lr: float,
        last_lr: float | None = None,
        beat: Callable[[], object] = lambda: None,
    ) -> None:
        """Train on instances ``rows`` i8[m], in batches of about equal size, but those sharing no label.

        Batches are of instances that are alike, or random where ``rows`` are, as the configuration says.

        first_sample  number of the range's first sample since the start of the pretraining
        lr, last_lr   learning rate at the range's begin, and its end if it changes, evenly
        beat          called between batches, and while they are chosen; what it raises leaves the rest
        """
        sample_seeds(self._seed, first_sample, self._state)
        kept, labels = np.empty(len(rows), np.int64), np.empty(len(rows), np.int32)
        data, starts, size = self.dataset, self._by_label.starts, self.config.batch_size
        n = choose_labels(data.label_indptr, data.labels, starts, rows, self._state, kept, labels)
        batches = self._batches(kept[:n], first_sample, beat)
        rates = np.linspace(lr, lr if last_lr is None else last_lr, len(batches), endpoint=False)
        first_step = 1 + -(-first_sample // size)
        for i, (batch, rate) in enumerate(zip(batches, rates, strict=True)):
            if i:
                beat()
            self._batch(kept[batch], labels[batch], float(rate), first_step + i, first_sample)

    def _batches(self, rows: Offsets, first_sample: int, beat: Callable[[], object]) -> list[Offsets]:
        """Return the places in ``rows`` of each batch."""
        n, n_batches = len(rows), -(-len(rows) // self.config.batch_size)
        at_once = self.config.pool // self.config.batch_size
        if not n_batches:
            return []
        if at_once < 2:
            return np.array_split(np.arange(n), n_batches)
        rng = np.random.default_rng([self._seed, first_sample])
        groups: list[Offsets] = []
        for batches in np.array_split(np.arange(n_batches), -(-n_batches // at_once)):
            first, last = n * int(batches[0]) // n_batches, n * (int(batches[-1]) + 1) // n_batches
            within = alike_groups(self._sketches(rows[first:last], beat), len(batches), rng)
            groups += [first + group for group in within]
            beat()
        return groups

    def _sketches(self, rows: Offsets, beat: Callable[[], object]) -> Floats:
        """Return random projections of the instances' vectors, f4[m, SKETCH or width]."""
        width = self.network.spec.width
        if width <= SKETCH:
            out = self.network.hidden(self.dataset, rows)
        else:
            projection = np.random.default_rng(self._seed).standard_normal((width, SKETCH), np.float32)
            out = np.empty((len(rows), SKETCH), np.float32)
            for first in range(0, len(rows), SKETCH_BLOCK):
                block = rows[first : first + SKETCH_BLOCK]
                np.dot(
                    self.network.hidden(self.dataset, block), projection, out=out[first : first + len(block)]
                )
                beat()
        self.counters[Counter.MACS] += (self._n_features(rows) + len(rows) * min(SKETCH, width)) * width
        return out

    def _n_features(self, rows: Offsets) -> int:
        """Return the features of the instances together."""
        indptr = self.dataset.indptr
        return int((indptr[rows + 1] - indptr[rows]).sum())

    def _batch(self, rows: Offsets, labels: Ids, lr: float, step: int, salt: int) -> None:
        m, data, scale = len(rows), self.dataset, self.config.scale
        self._join(rows, labels)
        if not self._forward(m):
            self._without_bad(rows, labels, lr, step, salt)
            return
        unit, delta = self._unit[: 2 * m], self._delta
        cosines = self._cosines.reshape(-1)[: m * m].reshape(m, m)
        np.dot(unit[:m], unit[m:].T, out=cosines)
        loss = contrastive_gradient(cosines, rows, labels, data.label_indptr, data.labels, scale)
        if not np.isfinite(loss):
            self._leave_out(rows, LOSS, f"the loss of its batch is {loss}")
            return
        self._count(m, loss, int(self._entries.ends[2 * m]))
        np.dot(cosines, unit[m:], out=delta[:m])
        np.dot(cosines.T, unit[:m], out=delta[m : 2 * m])
        self._backward(rows, lr, step, salt)

    def _leave_out(self, rows: Offsets, layer: str, what: str) -> None:
        self.counters[Counter.NON_FINITE] += len(rows)
        self._non_finite.note(rows[0], layer, what)

    def _without_bad(self, rows: Offsets, labels: Ids, lr: float, step: int, salt: int) -> None:
        """Train on the batch without the instances whose sums, or whose partners' sums, are not finite."""
        m = len(rows)
        lengths = np.square(self._norms[: 2 * m], dtype=np.float64)
        bad = np.flatnonzero(~(lengths < MOST))
        good = np.delete(np.arange(m), bad % m)
        self.counters[Counter.NON_FINITE] += m - len(good)
        for place in bad:
            self._note(int(place))
        if len(good):
            self._batch(rows[good], labels[good], lr, step, salt)

    def _note(self, place: int) -> None:
        """Name the instance at ``place`` of the 2m sums, or the partner there whose values are not finite."""
        data, members = self.dataset, self._members[self._ends[place] : self._ends[place + 1]]
        found: tuple[str, Words] = ("", "")
        for row in members:
            first, last = data.indptr[row], data.indptr[row + 1]
            instance = (data.indices[first:last], data.values[first:last])
            weights = self.network.layers[0].weights
            found = in_instance(weights, layer_name(0), *instance, self._norms[place : place + 1])
            if found[0] == DATA:
                break
        self._non_finite.note(row, *found)

    def _join(self, rows: Offsets, labels: Ids) -> None:
        """Collect the features of each instance, and after them those of its label's other instances."""
        m, data, by_label, entries = len(rows), self.dataset, self._by_label, self._entries
        ends, members = self._ends[: 2 * m + 1], self._members
        ends[:m], members[:m] = np.arange(m), rows
        lists = (by_label.starts, by_label.rows, rows, labels)
        n = m + choose_partners(*lists, self.config.partners, self._state, ends[m:], members[m:])
        ends[m:] += m
        entries.ensure(self._n_features(members[:n]))
        out = (entries.ends[: 2 * m + 1], entries.indices, entries.values)
        join_instances(data.indptr, data.indices, data.values, ends, members[:n], *out)

    def _forward(self, m: int) -> bool:
        """Fill the unit vectors of instances and of their partners; return whether all lengths are finite."""
        unit, entries, rows = self._unit[: 2 * m], self._entries, np.arange(2 * m)
        instances = (entries.ends, entries.indices, entries.values, rows, self._seeds[: 2 * m])
        input_forward(*instances, 1.0, self.network.layers[0].weights, unit)
        normalize_forward(unit, unit, self._norms[: 2 * m])
        return math.isfinite(squares(self._norms[: 2 * m]))

    def _backward(self, rows: Offsets, lr: float, step: int, salt: int) -> None:
        m = len(rows)
        unit, delta = self._unit[: 2 * m], self._delta[: 2 * m]
        normalize_backward(unit, self._norms[: 2 * m], delta)
        if not squares(delta) * squares(self._entries.values[: self._entries.ends[2 * m]]) < MOST:
            self._leave_out(rows, layer_name(0), too_large(delta.reshape(-1), "the gradients of its batch"))
            return
        by_feature = self._entries.grouped(2 * m)
        layer = self.network.layers[0].views
        rate = (lr, self._hyper, step, ((self._seed ^ _ROUND) + salt) % 2**64)
        step_features(*by_feature, delta, self._gradient, self._code, *layer, *rate)

    def _count(self, m: int, loss: float, n_features: int) -> None:
        self.counters[Counter.PRETRAINED] += m
        self.counters[Counter.PRETRAIN_LOSS] += loss
        self.counters[Counter.MACS] += (2 * n_features + 3 * m * m) * self.network.spec.width
