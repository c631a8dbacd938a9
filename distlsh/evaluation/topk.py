"""The k best labels of hidden vectors: exact, or among what hash tables retrieve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import LABEL_BLOCK, ROW_BLOCK
from distlsh.evaluation.screening import RowCodes, screened_topk
from distlsh.kernels.int8_tile import screens
from distlsh.kernels.topk import merge_topk
from distlsh.model.storage import readable

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]

NO_BIAS: Floats = np.empty(0, np.float32)


def exact_topk(
    hidden: Floats,
    weights: Floats,
    bias: Floats | None,
    scale: float,
    k: int,
    codes: RowCodes | None = None,
) -> tuple[Ids, Floats]:
    """Return each row's k best labels and their logits ``scale * hidden @ weights.T + bias``.

    hidden   f4[m, d]
    weights  f4[n, d], or u2[n, d] of bfloat16
    bias     f4[n] or f4[n, 1], or None
    scale    above 0
    k        at least 1; beyond n labels the places hold -1 and -inf
    codes    of ``weights``, where the caller keeps them

    Returns i4[m, k] and f4[m, k], best first, equal scores by lower label; a label whose
    logit is NaN is never returned.  Many labels are screened by 8-bit products, in the calling thread
    (`evaluation.screening`); few go through BLAS, in its threads.  The two round the last bits of a
    logit differently.  Works in blocks: allocates some MiB and the result.
    """
    flat_bias = NO_BIAS if bias is None else bias.reshape(-1)
    if screens(weights.shape[0], weights.shape[1], k):
        return screened_topk(np.ascontiguousarray(hidden), weights, flat_bias, scale, k, codes)
    return _blas_topk(hidden, readable(weights), flat_bias, scale, k)


def _blas_topk(hidden: Floats, weights: Floats, bias: Floats, scale: float, k: int) -> tuple[Ids, Floats]:
    """Return the same by products of blocks of rows with blocks of labels."""
    m, n = hidden.shape[0], weights.shape[0]
    ids = np.full((m, k), -1, np.int32)
    scores = np.full((m, k), -np.inf, np.float32)
    scratch = np.empty(min(m, ROW_BLOCK) * min(n, LABEL_BLOCK), np.float32)
    for row in range(0, m, ROW_BLOCK):
        rows = slice(row, row + ROW_BLOCK)
        scaled = hidden[rows] if scale == 1.0 else hidden[rows] * np.float32(scale)
        for first in range(0, n, LABEL_BLOCK):
            some = weights[first : first + LABEL_BLOCK]
            block = scratch[: len(scaled) * len(some)].reshape(len(scaled), len(some))
            np.matmul(scaled, some.T, out=block)
            merge_topk(block, bias[first : first + LABEL_BLOCK], first, ids[rows], scores[rows])
    return ids, scores
