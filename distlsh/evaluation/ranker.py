"""The exact top-k of a trained network, with what is kept between calls to find it fast."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from distlsh.evaluation.evaluate import exact_labels
from distlsh.evaluation.parallel import in_blocks, n_cores
from distlsh.evaluation.screening import RowCodes, merge_parts, screened_topk
from distlsh.evaluation.topk import NO_BIAS
from distlsh.kernels.int8_tile import ROWS, screens
from distlsh.model.network import Network

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]

_LEAST_LABELS = 16_384
"""Labels that repay a thread of their own."""


class ExactRanker:
    """Ranks all labels by their logits.

    The first call that profits keeps the output rows in 8 bits beside themselves, a quarter of their
    bytes, so rows must not change afterwards.  Methods may be called from several threads.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._codes: RowCodes | None = None
        self._lock = Lock()

    def codes(self, k: int) -> RowCodes | None:
        """Return the output rows in 8 bits; None where ranking for ``k`` makes no use of them."""
        weights = self._network.output.weights
        if not screens(weights.shape[0], weights.shape[1], k):
            return None
        with self._lock:
            if self._codes is None:
                self._codes = _coded(weights)
            return self._codes

    def topk(self, hidden: Floats, k: int, n_threads: int = 1) -> tuple[Ids, Floats]:
        """Return what `exact_labels` does; with several threads each takes a part of the labels."""
        codes = self.codes(k)
        spec = self._network.spec
        n_parts = min(n_threads, spec.n_labels // _LEAST_LABELS)
        if codes is None or n_parts < 2:
            return exact_labels(self._network, hidden, k, codes)
        bias = self._network.output_bias.weights.reshape(-1) if spec.bias else NO_BIAS
        size = -(-spec.n_labels // (n_parts * ROWS)) * ROWS

        def part(first: int) -> tuple[Ids, Floats]:
            some = slice(first, first + size)
            rows, own = self._network.output.weights[some], codes.block(first, first + size)
            ids, scores = screened_topk(hidden, rows, bias[some], spec.logit_scale, k, own)
            return np.where(ids >= 0, ids + np.int32(first), ids), scores

        with ThreadPoolExecutor(n_parts, "distlsh") as pool:
            return merge_parts(list(pool.map(part, range(0, spec.n_labels, size))), k)


def _coded(weights: Floats) -> RowCodes:
    """Return the codes of rows f4[n, d], made on all cores."""
    codes = RowCodes.empty(*weights.shape)
    size = -(-len(weights) // (4 * n_cores() * ROWS)) * ROWS
    starts = range(0, len(weights), size)

    def work(first: int, last: int) -> None:
        for number in range(first, last):
            some = slice(starts[number], starts[number] + size)
            codes.block(some.start, some.stop).code(weights[some])

    in_blocks(len(starts), work, block=1)
    return codes
