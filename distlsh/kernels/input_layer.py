"""The first layer: sparse instances times an array of one row a feature."""

from __future__ import annotations

from distlsh.kernels._jit import device_function
from distlsh.kernels._types import F4_1R, F4_2, F4_2R, I4_1R, I8_1, I8_1R, U8_1R, f4, i8, u8, void
from distlsh.kernels.finite import MOST
from distlsh.kernels.optim import update_row
from distlsh.kernels.prefetch import prefetch_row
from distlsh.kernels.random import uniform_at
from distlsh.kernels.stored_rows import salt_of, stored_kernel, value_at


@device_function
def _dropped_value(value, seed, place, keep):  # type: ignore[no-untyped-def]
    """Return the value after inverted dropout; ``place`` is its place in the instance."""
    if keep >= f4(1.0):
        return value
    if uniform_at(seed, place) < keep:
        return value / keep
    return f4(0.0)


@device_function
def add_row_sum(indices, values, first, last, seed, keep, weights, out, i):  # type: ignore[no-untyped-def]
    """Add ``values[p] * weights[indices[p]]``, summed over places first <= p < last, to ``out[i]`` f4[m, d].

    seed, keep  of the dropout of values, as in ``input_forward``
    """
    d = out.shape[1]
    for p in range(first, min(first + 4, last)):
        prefetch_row(weights, indices[p])
    p = first
    # Four rows at a time: four streams from memory, and a fourth of the traffic on `out`.
    while p + 4 <= last:
        for q in range(p + 4, min(p + 8, last)):
            prefetch_row(weights, indices[q])
        a, b, c, e = indices[p], indices[p + 1], indices[p + 2], indices[p + 3]
        u = _dropped_value(values[p], seed, p - first, keep)
        v = _dropped_value(values[p + 1], seed, p + 1 - first, keep)
        x = _dropped_value(values[p + 2], seed, p + 2 - first, keep)
        y = _dropped_value(values[p + 3], seed, p + 3 - first, keep)
        for j in range(d):
            first_two = u * value_at(weights, a, j) + v * value_at(weights, b, j)
            out[i, j] += first_two + x * value_at(weights, c, j) + y * value_at(weights, e, j)
        p += 4
    while p < last:
        a = indices[p]
        u = _dropped_value(values[p], seed, p - first, keep)
        for j in range(d):
            out[i, j] += u * value_at(weights, a, j)
        p += 1


@stored_kernel(6, void(I8_1R, I4_1R, F4_1R, I8_1R, U8_1R, f4, F4_2R, F4_2))
def input_forward(indptr, indices, values, rows, seeds, keep, weights, out):  # type: ignore[no-untyped-def]
    """Write ``instance @ weights`` of the given rows of a CSR matrix to ``out``.

    indptr, indices, values  CSR: i8[n+1], i4[nnz], f4[nnz]
    rows     i8[m], each in [0, n)
    seeds    u8[m], random states for the dropout of features; unused where ``keep`` is 1;
             backward, of the rounding of bfloat16 rows too
    keep     probability that a feature is kept; kept values are divided by it
    weights  f4 or u2[n_features, d] (`stored_rows`), shared
    out      f4[m, d], overwritten

    Concurrency: reads rows that others write.  Allocates: nothing.  Cost: O(nonzeros * d).
    Unchecked: ranges of rows and indices.
    """
    d = out.shape[1]
    for i in range(rows.shape[0]):
        for j in range(d):
            out[i, j] = f4(0.0)
        row = rows[i]
        add_row_sum(indices, values, indptr[row], indptr[row + 1], seeds[i], keep, weights, out, i)


@device_function
def _squared_bound(values, first, last, keep, delta, i):  # type: ignore[no-untyped-def]
    """Return a bound of the squared lengths of the gradients that an instance gives to its rows."""
    length, squares = f4(0.0), f4(0.0)
    for j in range(delta.shape[1]):
        length += delta[i, j] * delta[i, j]
    for p in range(first, last):
        squares += values[p] * values[p]
    return length * (squares / (keep * keep))


@stored_kernel(8, i8(I8_1R, I4_1R, F4_1R, I8_1R, U8_1R, f4, F4_2R, i8, F4_2, F4_2, F4_2, I8_1, f4, F4_1R, i8))
def input_backward(  # type: ignore[no-untyped-def]
    indptr, indices, values, rows, seeds, keep, delta, code, w, s1, s2, clock, lr, hyper, step
):  # fmt: skip
    """Step the rows of every instance's features, one after the other; return how many were left out.

    An instance without a gradient steps nothing.  Left out are those whose gradients to a row may be
    so long, beyond `MOST`, that the squares that optimisers keep are soon not finite.

    indptr, indices, values, rows, seeds, keep   as given to ``input_forward``
    delta  f4[m, d], gradient of each instance's loss to the layer's sums
    code, w, s1, s2, clock, lr, hyper, step      as in ``optim.update_row``; w f4 or u2[n_features, d]

    Concurrency: HOGWILD, lost updates allowed.  Allocates: nothing.  Cost: O(nonzeros * d).
    Unchecked: ranges of rows and indices.  Source: HOGWILD (Niu et al. 2011), section 2.
    """
    left_out = 0
    for i in range(rows.shape[0]):
        first, last = indptr[rows[i]], indptr[rows[i] + 1]
        bound = _squared_bound(values, first, last, keep, delta, i)
        if bound == f4(0.0):
            continue
        if not bound < MOST:
            left_out += 1
            continue
        for p in range(first, last):
            if p + 2 < last:
                prefetch_row(w, indices[p + 2])
                if s1.shape[0] > 1:
                    prefetch_row(s1, indices[p + 2])
            value = _dropped_value(values[p], seeds[i], p - first, keep)
            if value != f4(0.0):
                row = indices[p]
                salt = salt_of(seeds[i] + u8(step), row)
                update_row(code, w, s1, s2, clock, row, value, delta, i, lr, hyper, step, salt)
    return left_out
