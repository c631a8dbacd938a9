"""A hashed hidden layer: a sample computes its active neurons, over the inputs that are not zero.

Weights have a row a neuron.  Inputs and outputs are pairs of a batch (see ``kernels.pairs``), so
forward, gradient and update cost (active neurons) x (active inputs) and nothing more.
Source: Spring & Shrivastava 2017, sections 4 and 5.
"""

from __future__ import annotations

import math

import numpy as np

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import (
    F4_1,
    F4_1R,
    F4_2,
    F4_2R,
    I4_1,
    I4_1R,
    I4_2R,
    I8_1,
    I8_1R,
    U1_1,
    b1,
    f4,
    i8,
    void,
)
from distlsh.kernels.hidden_layer import RELU, TANH
from distlsh.kernels.optim import ONE, update_row
from distlsh.kernels.pairs import update_pairs
from distlsh.kernels.prefetch import prefetch, prefetch_row
from distlsh.kernels.sorting import nth_smallest


@device_function
def pair_sums(ids, n, indices, values, first, last, w, sums):  # type: ignore[no-untyped-def]
    """Write ``values[first:last] . w[ids[k], indices[first:last]]`` for every k < n."""
    k, width = 0, w.shape[1]
    # Four rows at a time: an index and a value are loaded once for four products.  Rows are read here and
    # there, which no hardware foresees: each place asks for the same one of the next four rows.
    while k + 4 <= n:
        ra, rb, rc, rd = ids[k], ids[k + 1], ids[k + 2], ids[k + 3]
        ahead = min(k + 4, n - 4)
        na, nb, nc, nd = ids[ahead], ids[ahead + 1], ids[ahead + 2], ids[ahead + 3]
        ta, tb, tc, td = f4(0.0), f4(0.0), f4(0.0), f4(0.0)
        for p in range(first, last):
            j, x = indices[p], values[p]
            prefetch(w, na * width + j)
            prefetch(w, nb * width + j)
            prefetch(w, nc * width + j)
            prefetch(w, nd * width + j)
            ta += w[ra, j] * x
            tb += w[rb, j] * x
            tc += w[rc, j] * x
            td += w[rd, j] * x
        sums[k], sums[k + 1], sums[k + 2], sums[k + 3] = ta, tb, tc, td
        k += 4
    while k < n:
        row = ids[k]
        total = f4(0.0)
        for p in range(first, last):
            total += w[row, indices[p]] * values[p]
        sums[k] = total
        k += 1


@device_function
def _sorted(candidates, n, marks, ids):  # type: ignore[no-untyped-def]
    """Write the first ``n`` candidates, distinct, to ``ids`` in ascending order."""
    for k in range(n):
        marks[candidates[k]] = 1
    at, id_ = 0, 0
    while at < n:
        # Written always and kept only if marked: cheaper than a branch that mispredicts.
        ids[at] = id_
        at += marks[id_]
        marks[id_] = 0
        id_ += 1


@device_function
def _keep_largest(ids, sums, n, budget, keys):  # type: ignore[no-untyped-def]
    """Move the ``budget`` largest sums and their ids to the front, in order; ties: the lower id.

    A NaN counts as largest: it must stay visible.
    """
    for k in range(n):
        keys[k] = sums[k] if sums[k] == sums[k] else f4(np.inf)
    least = nth_smallest(keys, n, n - budget + 1)
    above = 0
    for k in range(n):
        above += not sums[k] <= least
    ties, at = budget - above, 0
    for k in range(n):
        taken = not sums[k] <= least
        if sums[k] == least and ties > 0:
            taken = True
            ties -= 1
        if taken and at < budget:
            ids[at] = ids[k]
            sums[at] = sums[k]
            at += 1
    return at


@device_function
def _write_active(ids, sums, n, activation, out_indices, out_values, at):  # type: ignore[no-untyped-def]
    """Append the activations to a batch's pairs; a ReLU's zeros, which pass nothing on, are left out."""
    for k in range(n):
        value = sums[k]
        if activation == RELU:
            if value <= f4(0.0):  # not a NaN
                continue
        elif activation == TANH:
            value = math.tanh(value)
        out_indices[at] = ids[k]
        out_values[at] = value
        at += 1
    return at


@kernel(
    f4(
        I4_2R, I4_1R, I8_1R, I4_1R, F4_1R, F4_2R, F4_2R, i8, i8,
        U1_1, I4_1, F4_1, F4_1, I8_1, I4_1, F4_1,
    )
)  # fmt: skip
def hashed_forward(  # type: ignore[no-untyped-def]
    candidates, n_candidates, indptr, indices, values, w, bias, activation, budget,
    marks, ids, sums, keys, out_indptr, out_indices, out_values,
):  # fmt: skip
    """Compute each sample's candidates; pass on the ``budget`` of them with the largest sums.

    Return the sum of squares of what is passed on.

    candidates, n_candidates  i4[m or 1, cap], i4[m or 1]: distinct neurons of each sample, or of all
    indptr, indices, values   the inputs' pairs: i8[m+1], i4[], f4[]
    w, bias                   f4[h, d], f4[h, 1], a row a neuron, shared
    activation                LINEAR, RELU or TANH
    budget                    neurons that are active, at most
    marks                     u1[h], scratch, zeros before and after
    ids, sums, keys           i4[cap], f4[cap], f4[cap], scratch
    out_indptr, out_indices, out_values  i8[>= m+1], i4[], f4[]: the pairs passed on, overwritten

    Concurrency: reads rows that others write.  Allocates: nothing.
    Cost: O(candidates * inputs + h) a sample.  Unchecked: ranges of candidates and indices.
    Source: Spring & Shrivastava 2017, algorithm 2.
    """
    n_lists = candidates.shape[0]
    out_indptr[0] = 0
    at = 0
    for s in range(indptr.shape[0] - 1):
        chosen = candidates[s % n_lists]
        n = n_candidates[s % n_lists]
        _sorted(chosen, n, marks, ids)
        pair_sums(ids, n, indices, values, indptr[s], indptr[s + 1], w, sums)
        for k in range(n):
            sums[k] += bias[ids[k], 0]
        if n > budget:
            n = _keep_largest(ids, sums, n, budget, keys)
        at = _write_active(ids, sums, n, activation, out_indices, out_values, at)
        out_indptr[s + 1] = at
    squares = f4(0.0)
    for p in range(at):
        squares += out_values[p] * out_values[p]
    return squares


_BLOCK = (F4_2, F4_2, F4_2, I8_1)


@kernel(
    void(
        I8_1R, I4_1R, F4_1R, F4_1R, I8_1R, I4_1R, F4_1R, F4_1, b1, i8,
        i8, *_BLOCK, *_BLOCK, U1_1, f4, F4_1R, i8,
    )
)  # fmt: skip
def hashed_backward(  # type: ignore[no-untyped-def]
    out_indptr, out_indices, out_values, delta, indptr, indices, values, in_delta, wants_inputs, activation,
    code, w, s1, s2, clock, bias, bias1, bias2, bias_clock, dirty, lr, hyper, step,
):  # fmt: skip
    """Step the active neurons' weights on the active inputs, one sample after the other.

    out_indptr, out_indices, out_values  the pairs that ``hashed_forward`` passed on
    delta                    f4[], gradient of each sample's loss to ``out_values``
    indptr, indices, values  the inputs' pairs, as given to ``hashed_forward``
    in_delta                 f4[], overwritten by the gradient to ``values`` where ``wants_inputs``: by
                             the rows as they were before that sample's update, after the updates of
                             the samples before it
    activation               LINEAR, RELU or TANH
    code, w, s1, s2, clock, lr, hyper, step   as in ``optim.update_row``; w f4[h, d]
    bias, bias1, bias2, bias_clock            f4[h, 1] and states
    dirty                    u1[h], set to 1 where a row was changed

    Concurrency: HOGWILD, lost updates allowed.  Allocates: nothing.
    Cost: O(active neurons * active inputs) a sample.  Unchecked: ranges of indices.
    Source: Spring & Shrivastava 2017, section 5; HOGWILD (Niu et al. 2011), section 2.
    """
    for s in range(indptr.shape[0] - 1):
        first, last = indptr[s], indptr[s + 1]
        if wants_inputs:
            for p in range(first, last):
                in_delta[p] = f4(0.0)
        for k in range(out_indptr[s], out_indptr[s + 1]):
            g, row = delta[k], out_indices[k]
            if k + 2 < out_indptr[s + 1]:
                prefetch_row(w, out_indices[k + 2])
            if activation == TANH:
                g *= f4(1.0) - out_values[k] * out_values[k]
            if g == f4(0.0):
                continue
            if wants_inputs:
                for p in range(first, last):
                    in_delta[p] += g * w[row, indices[p]]
            update_pairs(code, w, s1, s2, clock, row, g, indices, values, first, last, lr, hyper, step)
            update_row(code, bias, bias1, bias2, bias_clock, row, g, ONE, 0, lr, hyper, step)
            dirty[row] = 1
