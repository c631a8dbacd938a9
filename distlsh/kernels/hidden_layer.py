"""What surrounds the matrix products of dense layers: activation, normalisation, their gradients."""

from __future__ import annotations

import math

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import F4_1, F4_1R, F4_2, F4_2R, f4, i8, void

LINEAR, RELU, TANH = range(3)


@kernel(f4(i8, F4_2R, F4_2))
def activation_forward(activation, bias, x):  # type: ignore[no-untyped-def]
    """Add ``bias`` to every row of ``x`` and apply the activation, in place; return the sums' sum of squares.

    That is NaN or infinite if any sum is no finite float32, or is too large to square, whatever the
    activation makes of it.

    activation  LINEAR, RELU or TANH
    bias        f4[1, d]
    x           f4[m, d], sums of the layer, overwritten by its activations

    Concurrency: reads a bias that others write.  Allocates: nothing.  Cost: O(m * d).
    """
    squares = f4(0.0)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] += bias[0, j]
            squares += x[i, j] * x[i, j]
        if activation == RELU:
            for j in range(x.shape[1]):
                # Not max(): a NaN must stay one.
                if x[i, j] < f4(0.0):
                    x[i, j] = f4(0.0)
        elif activation == TANH:
            for j in range(x.shape[1]):
                x[i, j] = math.tanh(x[i, j])
    return squares


@kernel(f4(i8, F4_2R, f4, F4_2))
def activation_backward(activation, out, keep, delta):  # type: ignore[no-untyped-def]
    """Turn the gradient to activations into that to the layer's sums, in place; return its sum of squares.

    activation  LINEAR, RELU or TANH
    out         f4[m, d], the activations after inverted dropout
    keep        probability that the dropout kept a value; 1 without dropout
    delta       f4[m, d], gradient to the activations before dropout (0 where one was dropped),
                changed in place

    Concurrency: none needed.  Allocates: nothing.  Cost: O(m * d).
    """
    squares = f4(0.0)
    for i in range(delta.shape[0]):
        if activation == RELU:
            for j in range(delta.shape[1]):
                if out[i, j] <= f4(0.0):
                    delta[i, j] = f4(0.0)
        elif activation == TANH:
            for j in range(delta.shape[1]):
                value = keep * out[i, j]
                delta[i, j] *= f4(1.0) - value * value
        for j in range(delta.shape[1]):
            squares += delta[i, j] * delta[i, j]
    return squares


@kernel(void(F4_2R, F4_2))
def multiply(mask, x):  # type: ignore[no-untyped-def]
    """Multiply ``x`` f4[m, d] by ``mask`` f4[m, d], in place.

    Concurrency: none needed.  Allocates: nothing.  Cost: O(m * d).
    """
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] *= mask[i, j]


@kernel(void(F4_2R, F4_2, F4_1))
def normalize_forward(x, out, norms):  # type: ignore[no-untyped-def]
    """Write the rows of ``x`` to ``out``, scaled to unit length; a row of zeros stays.

    x      f4[m, d]
    out    f4[m, d], overwritten; may be ``x``
    norms  f4[m], overwritten by the rows' lengths before; 0 for a row of zeros

    Concurrency: none needed.  Allocates: nothing.  Cost: O(m * d).
    """
    for i in range(x.shape[0]):
        total = f4(0.0)
        for j in range(x.shape[1]):
            total += x[i, j] * x[i, j]
        norms[i] = math.sqrt(total)
        inverse = f4(1.0) / norms[i] if norms[i] != f4(0.0) else f4(0.0)
        for j in range(x.shape[1]):
            out[i, j] = inverse * x[i, j]


@kernel(void(F4_2R, F4_1R, F4_2))
def normalize_backward(unit, norms, delta):  # type: ignore[no-untyped-def]
    """Turn the gradient to unit vectors into the gradient to the vectors, in place.

    unit   f4[m, d], the normalised rows
    norms  f4[m], their lengths before; where 0, the gradient is 0
    delta  f4[m, d], changed in place: (delta - (delta . unit) unit) / norm

    Concurrency: none needed.  Allocates: nothing.  Cost: O(m * d).
    """
    for i in range(delta.shape[0]):
        along = f4(0.0)
        for j in range(delta.shape[1]):
            along += delta[i, j] * unit[i, j]
        inverse = f4(1.0) / norms[i] if norms[i] > f4(0.0) else f4(0.0)
        for j in range(delta.shape[1]):
            delta[i, j] = (delta[i, j] - along * unit[i, j]) * inverse


@kernel(void(F4_2R, F4_2))
def column_sums(x, out):  # type: ignore[no-untyped-def]
    """Write the sum of the rows of ``x`` f4[m, d] to ``out`` f4[1, d].

    Concurrency: none needed.  Allocates: nothing.  Cost: O(m * d).
    """
    for j in range(x.shape[1]):
        out[0, j] = f4(0.0)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[0, j] += x[i, j]
