"""Sparse activations of a batch, and the step of a weight row on a sample's inputs alone.

A batch's activations are pairs of index and value in CSR form: those of sample s stand in
places ``[indptr[s], indptr[s + 1])`` of ``indices`` i4 and ``values`` f4, ascending by index.
"""

from __future__ import annotations

import math

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import F4_1, F4_1R, F4_2, F4_2R, I4_1, I4_1R, I8_1, I8_1R, U8_1R, b1, f4, void
from distlsh.kernels.optim import ADAGRAD, ADAGRAD_ROW, ADAM, MOMENTUM
from distlsh.kernels.random import uniform_at


@device_function
def _elapsed(clock, row, step):  # type: ignore[no-untyped-def]
    """Return the steps since any place of the row was last touched, at least one, and set its clock."""
    passed = step - clock[row]
    if passed < 1:
        return 1
    clock[row] = step
    return passed


@device_function
def update_pairs(  # type: ignore[no-untyped-def]
    code, w, s1, s2, clock, row, coef, indices, values, first, last, lr, hyper, step
):  # fmt: skip
    """Step the places ``indices[first:last]`` of row ``row`` of ``w`` along ``coef * values[first:last]``.

    code, w, s1, s2, clock, lr, hyper, step  as in ``optim.update_row``
    indices, values                          i4[], f4[]: distinct columns of ``w``, and their inputs

    Places that are not named keep their weights and states.  The clock is the row's: the moments
    of a place decay by the steps since the row was last touched, so those of a place that the row's
    last steps left out have decayed less than time has passed.  SGD and Adagrad have no clock.

    Concurrency: HOGWILD.  Allocates: nothing.  Cost: O(last - first).  Unchecked: ranges.
    Source: Spring & Shrivastava 2017, section 5; the optimisers' as in ``optim.update_row``.
    """
    if code == ADAGRAD:
        eps = hyper[2]
        for p in range(first, last):
            j, g = indices[p], coef * values[p]
            s = s1[row, j] + g * g
            s1[row, j] = s
            w[row, j] -= lr * g / (math.sqrt(s) + eps)
    elif code == ADAGRAD_ROW:
        total = f4(0.0)
        for p in range(first, last):
            total += values[p] * values[p]
        s = s1[row, 0] + coef * coef * total / f4(w.shape[1])
        s1[row, 0] = s
        rate = lr * coef / (math.sqrt(s) + hyper[2])
        for p in range(first, last):
            w[row, indices[p]] -= rate * values[p]
    elif code == ADAM:
        passed = _elapsed(clock, row, step)
        beta1, beta2, eps = hyper[0], hyper[1], hyper[2]
        decay1, decay2 = f4(beta1**passed), f4(beta2**passed)
        fresh1, fresh2 = f4(1.0) - beta1, f4(1.0) - beta2
        rate = f4(lr / (1.0 - beta1**step))
        unbias2 = f4(1.0 / (1.0 - beta2**step))
        for p in range(first, last):
            j, g = indices[p], coef * values[p]
            a = decay1 * s1[row, j] + fresh1 * g
            b = decay2 * s2[row, j] + fresh2 * g * g
            s1[row, j] = a
            s2[row, j] = b
            w[row, j] -= rate * a / (math.sqrt(b * unbias2) + eps)
    elif code == MOMENTUM:
        decay = f4(hyper[0] ** _elapsed(clock, row, step))
        for p in range(first, last):
            j = indices[p]
            v = decay * s1[row, j] + coef * values[p]
            s1[row, j] = v
            w[row, j] -= lr * v
    else:
        rate = lr * coef
        for p in range(first, last):
            w[row, indices[p]] -= rate * values[p]


@kernel(void(I8_1R, I4_1R, F4_1R, I8_1R, U8_1R, f4, I8_1, I4_1, F4_1))
def gather_rows(indptr, indices, values, rows, seeds, keep, out_indptr, out_indices, out_values):  # type: ignore[no-untyped-def]
    """Copy rows of a CSR matrix to a batch's pairs, after dropout; what is zero is left out.

    indptr, indices, values              CSR: i8[n+1], i4[nnz], f4[nnz]
    rows                                 i8[m], each in [0, n)
    seeds, keep                          of the dropout, as in ``input_layer.input_forward``
    out_indptr, out_indices, out_values  i8[>= m+1], i4[], f4[], overwritten

    Concurrency: none needed.  Allocates: nothing.  Cost: O(nonzeros).
    Unchecked: ranges of rows, room in the output.
    """
    n = 0
    out_indptr[0] = 0
    for i in range(rows.shape[0]):
        first = indptr[rows[i]]
        for p in range(first, indptr[rows[i] + 1]):
            value = values[p]
            if keep < f4(1.0):
                value = value / keep if uniform_at(seeds[i], p - first) < keep else f4(0.0)
            if value != f4(0.0):
                out_indices[n] = indices[p]
                out_values[n] = value
                n += 1
        out_indptr[i + 1] = n


@kernel(void(F4_2R, b1, I8_1, I4_1, F4_1))
def dense_to_pairs(x, drop_zeros, out_indptr, out_indices, out_values):  # type: ignore[no-untyped-def]
    """Write the rows of ``x`` f4[m, d] as a batch's pairs.

    drop_zeros  leave out places that are 0: right where a value of 0 passes no gradient on (ReLU)
    out_indptr, out_indices, out_values  i8[>= m+1], i4[>= m*d], f4[>= m*d], overwritten

    Concurrency: none needed.  Allocates: nothing.  Cost: O(m * d).
    """
    n = 0
    out_indptr[0] = 0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            # Written always and kept only if wanted: cheaper than a branch that mispredicts.
            out_indices[n] = j
            out_values[n] = x[i, j]
            n += (not drop_zeros) or x[i, j] != f4(0.0)
        out_indptr[i + 1] = n


@kernel(void(I8_1R, I4_1R, F4_1R, F4_2))
def pairs_to_dense(indptr, indices, values, out):  # type: ignore[no-untyped-def]
    """Write a batch's pairs as the rows of ``out`` f4[m, d], overwritten.

    Concurrency: none needed.  Allocates: nothing.  Cost: O(m * d).  Unchecked: range of indices.
    """
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = f4(0.0)
        for p in range(indptr[i], indptr[i + 1]):
            out[i, indices[p]] = values[p]


@kernel(void(I8_1R, I4_1R, F4_2R, F4_2R, F4_1))
def pairs_gradient(indptr, indices, delta, weights, out):  # type: ignore[no-untyped-def]
    """Write the gradient to a batch's pairs that a dense layer over them passes back.

    indptr, indices  the pairs: i8[m+1], i4[]
    delta            f4[m, h], gradient of each sample's loss to the layer's sums
    weights          f4[d, h], a row an input, shared
    out              f4[], one number a pair, overwritten

    Concurrency: reads rows that others write.  Allocates: nothing.  Cost: O(pairs * h).
    Unchecked: range of indices.
    """
    for i in range(delta.shape[0]):
        for p in range(indptr[i], indptr[i + 1]):
            row = indices[p]
            total = f4(0.0)
            for j in range(delta.shape[1]):
                total += delta[i, j] * weights[row, j]
            out[p] = total


@kernel(void(I8_1R, F4_1R, F4_1, F4_1))
def normalize_pairs(indptr, values, out, norms):  # type: ignore[no-untyped-def]
    """Write each sample's values scaled to unit length; a sample of zeros stays.

    indptr       i8[m+1]
    values, out  f4[]
    norms        f4[m], overwritten by the lengths before

    Concurrency: none needed.  Allocates: nothing.  Cost: O(pairs).
    """
    for i in range(norms.shape[0]):
        total = f4(0.0)
        for p in range(indptr[i], indptr[i + 1]):
            total += values[p] * values[p]
        norms[i] = math.sqrt(total)
        inverse = f4(1.0) / norms[i] if norms[i] != f4(0.0) else f4(0.0)
        for p in range(indptr[i], indptr[i + 1]):
            out[p] = inverse * values[p]


@kernel(void(I8_1R, F4_1R, F4_1R, F4_1))
def normalize_pairs_backward(indptr, unit, norms, delta):  # type: ignore[no-untyped-def]
    """Turn the gradient to unit vectors of pairs into the gradient to the vectors, in place.

    indptr       i8[m+1]
    unit, norms  f4[], f4[m], as `normalize_pairs` wrote them
    delta        f4[], changed in place; see ``hidden_layer.normalize_backward``

    Concurrency: none needed.  Allocates: nothing.  Cost: O(pairs).
    """
    for i in range(norms.shape[0]):
        along = f4(0.0)
        for p in range(indptr[i], indptr[i + 1]):
            along += delta[p] * unit[p]
        inverse = f4(1.0) / norms[i] if norms[i] > f4(0.0) else f4(0.0)
        for p in range(indptr[i], indptr[i + 1]):
            delta[p] = (delta[p] - along * unit[p]) * inverse
