"""The output layer over sparse activations: logits, loss and updates of (active, active input) pairs."""

from __future__ import annotations

import math

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import (
    F4_1,
    F4_1R,
    F4_2,
    F8_1,
    I4_1,
    I4_1R,
    I4_2,
    I4_2R,
    I8_1,
    I8_1R,
    U1_1,
    U8_1R,
    b1,
    f4,
    i8,
    void,
)
from distlsh.kernels.hashed_layer import pair_sums
from distlsh.kernels.losses import SOFTMAX, bce_loss, round_gradients, softmax_loss
from distlsh.kernels.optim import ONE, update_row
from distlsh.kernels.output_layer import (
    ACTIVE,
    LABELLED,
    LOSS,
    MACS,
    NON_FINITE,
    RETRIEVED,
    ROWS_UPDATED,
    SAMPLES,
)
from distlsh.kernels.pairs import update_pairs


@kernel(void(I8_1R, I4_1R, I8_1R, U1_1, I4_2, I4_2))
def all_active(label_indptr, labels, rows, marks, active, bounds):  # type: ignore[no-untyped-def]
    """List every output for each sample: its labels, each once, then all others in order.

    label_indptr, labels  i8[n+1], i4[]: labels of the instances
    rows                  i8[m], the batch's instances
    marks                 u1[n_labels], scratch, zeros before and after
    active, bounds        i4[m, n_labels], i4[m, 3], overwritten, as ``output_layer`` describes them

    Concurrency: none needed.  Allocates: nothing.  Cost: O(m * n_labels).
    Unchecked: ranges of rows and labels.
    """
    for s in range(rows.shape[0]):
        at = 0
        for p in range(label_indptr[rows[s]], label_indptr[rows[s] + 1]):
            if marks[labels[p]] == 0:
                marks[labels[p]] = 1
                active[s, at] = labels[p]
                at += 1
        bounds[s, 0] = at
        for id_ in range(marks.shape[0]):
            if marks[id_] == 0:
                active[s, at] = id_
                at += 1
            marks[id_] = 0
        bounds[s, 1], bounds[s, 2] = at, at


@device_function
def _gradients(logits, bounds, s, n_labels, loss_code, log_q, tau, seed, kept, counters):  # type: ignore[no-untyped-def]
    """Turn a sample's logits into gradients; return how many of them to apply, listed in ``kept``.

    -1 where the loss is not finite: an update would spread the damage to every row it touches.
    """
    b0, drawn, n = bounds[s, 0], bounds[s, 1], bounds[s, 2]
    if log_q and n > drawn:
        shift = f4(math.log((n_labels - drawn) / (n - drawn)))
        for k in range(drawn, n):
            logits[k] += shift
    loss = softmax_loss(logits, b0, n) if loss_code == SOFTMAX else bce_loss(logits, b0, n)
    if not math.isfinite(loss):
        return -1
    counters[LOSS] += loss
    counters[LABELLED] += 1.0
    return round_gradients(logits, n, tau, seed, kept)


_BLOCK = (F4_2, F4_2, F4_2, I8_1)


@kernel(
    void(
        I4_2R, I4_2R, I8_1R, I4_1R, F4_1R, U8_1R, i8, b1, f4, f4,
        i8, *_BLOCK, *_BLOCK, b1, U1_1, f4, F4_1R, i8, F4_1, I4_1, F4_1, F8_1,
    )
)  # fmt: skip
def pairs_output_step(  # type: ignore[no-untyped-def]
    active, bounds, indptr, indices, values, seeds, loss_code, log_q, scale, tau,
    code, w, s1, s2, clock, bias, bias1, bias2, bias_clock, use_bias, dirty, lr, hyper, step,
    logits, kept, grad, counters,
):  # fmt: skip
    """Train the output layer on a batch of sparse activations, one sample after the other.

    indptr, indices, values  the hidden activations' pairs: i8[m+1], i4[], f4[]
    grad                     f4[], overwritten: the gradient to each pair's value; a sample's first one is
                             NaN where its loss or its gradient's length is not finite
    counters                 f8[16], added to; MACS too
    The others as in ``output_layer.output_step``: a sample's logits, gradients and updates are of
    its active outputs and active inputs alone.

    Concurrency: HOGWILD, lost updates allowed.  Allocates: nothing.
    Cost: O(active * pairs) reads, O(kept * pairs) writes.  Unchecked: ranges of rows and bounds.
    Source: Spring & Shrivastava 2017, section 5; SLIDE (Chen et al. 2019), section 3.
    """
    for s in range(indptr.shape[0] - 1):
        first, last = indptr[s], indptr[s + 1]
        b0, n = bounds[s, 0], bounds[s, 2]
        counters[SAMPLES] += 1.0
        counters[ACTIVE] += n
        counters[RETRIEVED] += bounds[s, 1] - b0
        for p in range(first, last):
            grad[p] = f4(0.0)
        if n == 0 or (loss_code == SOFTMAX and b0 == 0):
            continue
        pair_sums(active[s], n, indices, values, first, last, w, logits)
        for k in range(n):
            logits[k] *= scale
            if use_bias:
                logits[k] += bias[active[s, k], 0]
        n_kept = _gradients(
            logits, bounds, s, w.shape[0], loss_code, log_q, tau, seeds[s], kept, counters
        )  # fmt: skip
        finite = n_kept >= 0
        n_kept = max(n_kept, 0)
        counters[ROWS_UPDATED] += n_kept
        counters[MACS] += (n + 2 * n_kept) * (last - first)
        for q in range(n_kept):
            row, g = active[s, kept[q]], logits[kept[q]]
            coef = scale * g
            for p in range(first, last):
                grad[p] += coef * w[row, indices[p]]
            update_pairs(code, w, s1, s2, clock, row, coef, indices, values, first, last, lr, hyper, step)
            if use_bias:
                update_row(code, bias, bias1, bias2, bias_clock, row, g, ONE, 0, lr, hyper, step)
            dirty[row] = 1
        length = f4(0.0)
        for p in range(first, last):
            length += grad[p] * grad[p]
        if not (finite and math.isfinite(length)):
            counters[NON_FINITE] += 1.0
            if last > first:
                grad[first] = f4(math.nan)
