"""The wide layer: logits, loss and HOGWILD updates of a sample's active neurons alone.

A sample's active set is a list of distinct neurons: places [0, b0) hold its labels,
[b0, b1) retrieved neurons, [b1, b2) randomly drawn ones.
"""

from __future__ import annotations

import math

from distlsh.kernels._jit import device_function
from distlsh.kernels._types import (
    F4_1,
    F4_1R,
    F4_2,
    F4_2R,
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
from distlsh.kernels.losses import SOFTMAX, bce_loss, round_gradients, softmax_loss
from distlsh.kernels.optim import ONE, update_row, update_row_back
from distlsh.kernels.prefetch import line_values, prefetch_row
from distlsh.kernels.stored_rows import salt_of, stored_kernel, value_at

SAMPLES, LABELLED, LOSS, ACTIVE, RETRIEVED, ROWS_UPDATED, NON_FINITE, MACS = range(8)
"""Places of the counters that steps of output layers add to; see ``distlsh.model.counters``."""


_NARROW_LINES = 16
"""Longest rows of which eight are asked for ahead."""


@device_function
def _logits(active, i, n, hidden, s, w, bias, use_bias, scale, logits):  # type: ignore[no-untyped-def]
    """Write ``scale * hidden[s] . w[active[i, k]] + bias`` for every k < n."""
    d = w.shape[1]
    # A narrow row is read before the next has come: two groups of rows are on their way.
    ahead = 8 if d <= _NARROW_LINES * line_values(w) else 4
    for k in range(min(ahead, n)):
        prefetch_row(w, active[i, k])
    k = 0
    # Four rows at a time: four streams from memory keep more loads under way than one.
    while k + 4 <= n:
        for q in range(k + ahead, min(k + ahead + 4, n)):
            prefetch_row(w, active[i, q])
        ra, rb, rc, rd = active[i, k], active[i, k + 1], active[i, k + 2], active[i, k + 3]
        ta, tb, tc, td = f4(0.0), f4(0.0), f4(0.0), f4(0.0)
        for j in range(d):
            h = hidden[s, j]
            ta += value_at(w, ra, j) * h
            tb += value_at(w, rb, j) * h
            tc += value_at(w, rc, j) * h
            td += value_at(w, rd, j) * h
        logits[k], logits[k + 1] = scale * ta, scale * tb
        logits[k + 2], logits[k + 3] = scale * tc, scale * td
        k += 4
    while k < n:
        row = active[i, k]
        total = f4(0.0)
        for j in range(d):
            total += value_at(w, row, j) * hidden[s, j]
        logits[k] = scale * total
        k += 1
    if use_bias:
        for k in range(n):
            logits[k] += bias[active[i, k], 0]


@device_function
def _apply(  # type: ignore[no-untyped-def]
    active, i, gradients, kept, n_kept, hidden, s, scale, code, w, s1, s2, clock,
    bias, bias1, bias2, bias_clock, use_bias, dirty, lr, hyper, step, seed, grad,
):  # fmt: skip
    """Add the kept rows' part of the hidden gradient, then step the rows."""
    for j in range(grad.shape[1]):
        grad[s, j] = f4(0.0)
    for q in range(n_kept):
        if q + 2 < n_kept:
            ahead = active[i, kept[q + 2]]
            prefetch_row(w, ahead)
            if s1.shape[0] > 1:
                prefetch_row(s1, ahead)
        row = active[i, kept[q]]
        g = gradients[kept[q]]
        coef = scale * g
        update_row_back(
            code, w, s1, s2, clock, row, coef, hidden, s, lr, hyper, step, salt_of(seed, row), grad
        )
        if use_bias:
            update_row(code, bias, bias1, bias2, bias_clock, row, g, ONE, 0, lr, hyper, step)
        dirty[row] = 1


@device_function
def _sample(  # type: ignore[no-untyped-def]
    active, i, b0, b1_, n, hidden, s, loss_code, log_q, scale, tau, seed, code, w, s1, s2, clock,
    bias, bias1, bias2, bias_clock, use_bias, dirty, lr, hyper, step, logits, kept, grad, counters,
):  # fmt: skip
    """Train one sample on the active set in row ``i`` of ``active``."""
    counters[SAMPLES] += 1.0
    counters[ACTIVE] += n
    counters[RETRIEVED] += b1_ - b0
    if n == 0 or (loss_code == SOFTMAX and b0 == 0):
        for j in range(grad.shape[1]):
            grad[s, j] = f4(0.0)
        return
    _logits(active, i, n, hidden, s, w, bias, use_bias, scale, logits)
    if log_q and n > b1_:
        shift = f4(math.log((w.shape[0] - b1_) / (n - b1_)))
        for k in range(b1_, n):
            logits[k] += shift
    loss = softmax_loss(logits, b0, n) if loss_code == SOFTMAX else bce_loss(logits, b0, n)
    n_kept = 0
    finite = math.isfinite(loss)
    if finite:
        counters[LOSS] += loss
        counters[LABELLED] += 1.0
        n_kept = round_gradients(logits, n, tau, seed, kept)
    counters[ROWS_UPDATED] += n_kept
    _apply(
        active, i, logits, kept, n_kept, hidden, s, scale, code, w, s1, s2, clock,
        bias, bias1, bias2, bias_clock, use_bias, dirty, lr, hyper, step, seed, grad,
    )  # fmt: skip
    length = f4(0.0)
    for j in range(grad.shape[1]):
        length += grad[s, j] * grad[s, j]
    if not (finite and math.isfinite(length)):
        # Its update would spread the damage to every row it touches.
        counters[NON_FINITE] += 1.0
        grad[s, 0] = f4(math.nan)


_BLOCK = (F4_2, F4_2, F4_2, I8_1)
_SCRATCH = (F4_1, I4_1, F4_2, F8_1)


@stored_kernel(
    9,
    void(
        I4_2R, I4_2R, F4_2R, U8_1R, i8, b1, f4, f4, i8, *_BLOCK, *_BLOCK, b1, U1_1, f4, F4_1R, i8, *_SCRATCH
    ),
)  # fmt: skip
def output_step(  # type: ignore[no-untyped-def]
    active, bounds, hidden, seeds, loss_code, log_q, scale, tau,
    code, w, s1, s2, clock, bias, bias1, bias2, bias_clock, use_bias, dirty, lr, hyper, step,
    logits, kept, grad, counters,
):  # fmt: skip
    """Train the output layer on a batch, one sample after the other.

    active     i4[m, cap], distinct neurons of each sample
    bounds     i4[m, 3], the places (b0, b1, b2) of the module's text
    hidden     f4[m, d], input of the layer
    seeds      u8[m], random states of the stochastic rounding, of gradients and of bfloat16 rows
    loss_code  SOFTMAX: cross-entropy over the active set, target 1/b0 on each label; a sample
               without labels changes nothing.  BCE: binary cross-entropies of the active set, summed
    log_q      softmax: add log of (neurons to draw from / drawn) to randomly drawn neurons'
               logits, so that they stand for all that could have been drawn
    scale      of the logits: ``scale * hidden . w + bias``
    tau        gradients to a logit below it are rounded stochastically to 0 or +-tau; 0: never
    code, w, s1, s2, clock, lr, hyper, step   as in ``optim.update_row``; w f4 or u2[n_labels, d]
    bias, bias1, bias2, bias_clock            f4[n_labels, 1] and states; read only if ``use_bias``
    dirty      u1[n_labels], set to 1 where a row was changed
    logits     f4[cap], scratch
    kept       i4[cap], scratch
    grad       f4[m, d], overwritten: each sample's gradient to ``hidden``, by the rows as they were
               before that sample's update, after the updates of the samples before it; its first
               place is NaN where the loss or the gradient's length is not finite
    counters   f8[16], added to; such a sample is counted, and changes nothing if it is the loss

    Concurrency: HOGWILD, lost updates allowed.  Allocates: nothing.
    Cost: O(active * d) reads, O(kept * d) writes.  Unchecked: ranges of rows and bounds.
    Source: SLIDE (Chen et al. 2019), section 3; log-Q: Bengio & Senecal 2008, and Jean et al. 2015.
    """
    for s in range(hidden.shape[0]):
        _sample(
            active, s, bounds[s, 0], bounds[s, 1], bounds[s, 2], hidden, s, loss_code, log_q, scale, tau,
            seeds[s], code, w, s1, s2, clock, bias, bias1, bias2, bias_clock, use_bias, dirty,
            lr, hyper, step, logits, kept, grad, counters,
        )  # fmt: skip


@device_function
def _swap(order, place, a, b):  # type: ignore[no-untyped-def]
    x, y = order[0, a], order[0, b]
    order[0, a], order[0, b] = y, x
    place[x], place[y] = b, a


@stored_kernel(
    12,
    void(
        I8_1R, I4_1R, I8_1R, I4_2, I4_1, I4_1,
        F4_2R, U8_1R, i8, f4, f4, i8, *_BLOCK, *_BLOCK, b1, U1_1, f4, F4_1R, i8, *_SCRATCH
    ),
)  # fmt: skip
def dense_output_step(  # type: ignore[no-untyped-def]
    label_indptr, labels, rows, order, place, swapped,
    hidden, seeds, loss_code, scale, tau,
    code, w, s1, s2, clock, bias, bias1, bias2, bias_clock, use_bias, dirty, lr, hyper, step,
    logits, kept, grad, counters,
):  # fmt: skip
    """Train the output layer on a batch with every neuron active.

    label_indptr, labels  i8[n+1], i4[entries]: labels of the instances
    rows                  i8[m], the batch's instances
    order, place          i4[1, n_labels], i4[n_labels]: 0, 1, 2, ... in both before and after; a
                          sample's labels are swapped to the front of ``order`` while it is trained
    swapped               i4[n_labels], scratch
    The others as in ``output_step``, with cap = n_labels; repeated labels of an instance count once.

    Concurrency: HOGWILD, lost updates allowed.  Allocates: nothing.  Cost: O(m * n_labels * d).
    Unchecked: ranges of rows and labels.
    """
    n = order.shape[1]
    for s in range(hidden.shape[0]):
        n_labels = 0
        for p in range(label_indptr[rows[s]], label_indptr[rows[s] + 1]):
            at = place[labels[p]]
            if at >= n_labels:
                swapped[n_labels] = at
                _swap(order, place, n_labels, at)
                n_labels += 1
        _sample(
            order, 0, n_labels, n, n, hidden, s, loss_code, False, scale, tau,
            seeds[s], code, w, s1, s2, clock, bias, bias1, bias2, bias_clock, use_bias, dirty,
            lr, hyper, step, logits, kept, grad, counters,
        )  # fmt: skip
        for k in range(n_labels - 1, -1, -1):
            _swap(order, place, k, swapped[k])
