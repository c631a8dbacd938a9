"""The output layer of a network whose last hidden layer is hashed: imported for such networks alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distlsh.kernels.pairs import pairs_to_dense
from distlsh.kernels.pairs_output import all_active, pairs_output_step
from distlsh.model.layers.state import Pairs
from distlsh.model.spec import Floats, Ids, Offsets

if TYPE_CHECKING:
    from distlsh.model.step import TrainStep


class PairsOutput:
    """Trains the output layer on sparse activations, with the scratch of its `TrainStep`."""

    def __init__(self, step: TrainStep, cap: int) -> None:
        """Make room for ``cap`` active outputs a sample."""
        batch, spec = step.train.batch_size, step.network.spec
        self._step = step
        assert isinstance(step.stack.out, Pairs)
        self._hidden = step.stack.out
        self._active: Ids = np.empty((batch, cap), np.int32)
        self._bounds: Ids = np.zeros((batch, 3), np.int32)
        self._marks = np.zeros(spec.n_labels if step.dense else 0, np.uint8)
        # What tables are asked with: hash functions take whole vectors.
        self._queries: Floats = np.empty((0 if step.dense else batch, spec.width), np.float32)

    def train(self, rows: Offsets, lr: float, n_step: int) -> None:
        """Step the output layer for the batch that went through the stack; fill its gradient."""
        step, m = self._step, len(rows)
        network, spec = step.network, step.network.spec
        self._choose(rows)
        layer = (*network.output.views, *network.output_bias.views, spec.bias, network.dirty)
        pairs_output_step(
            self._active[:m], self._bounds[:m], *self._hidden.of(m), step.rounding_seeds(m), step.loss,
            spec.log_q, spec.logit_scale, step.train.skip_below, step.code, *layer, lr, step.hyper, n_step,
            step.logits, step.kept, self._hidden.delta, step.counters,
        )  # fmt: skip

    def active_of(self, place: int) -> Ids:
        """Return the active outputs of a sample of the last batch."""
        return self._active[place, : self._bounds[place, 2]]

    def _choose(self, rows: Offsets) -> None:
        step, m = self._step, len(rows)
        active, bounds = self._active[:m], self._bounds[:m]
        if step.selector is None or step.dense:
            data = step.dataset
            all_active(data.label_indptr, data.labels, rows, self._marks, active, bounds)
            return
        queries = self._queries[:m]
        pairs_to_dense(*self._hidden.of(m), queries)
        step.selector.select_batch(queries, rows, step.selection_seeds(m), active, bounds)
