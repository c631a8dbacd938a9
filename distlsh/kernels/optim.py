"""One step of an optimiser on one row of an array: truly sparse, whatever the optimiser.

A trained array has the states its optimiser needs and dummies of one place for the others:

    code         state1            state2            clock
    SGD          -                 -                 -
    MOMENTUM     velocity f4[n,d]  -                 i8[n]
    ADAGRAD      sum of squares    -                 -
    ADAGRAD_ROW  the same, f4[n,1] -                 -
    ADAM         first moment      second moment     i8[n]

Momentum and Adam decay a row's moments when the row is next touched, by
``beta ** (step - clock[row])``, at least once; so no step ever sweeps an array, and a row
that is touched at every step gets exactly what the dense optimiser gives it.  What a dense
optimiser would do to a row of zero gradient, move it on by the stale moments, is left out
(as in PyTorch's SparseAdam and TensorFlow's LazyAdam).
"""

from __future__ import annotations

import math

import numpy as np

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import F4_1R, F4_2, F4_2R, I8_1, f4, i8, void
from distlsh.kernels.stored_rows import put, value_at

SGD, MOMENTUM, ADAGRAD, ADAGRAD_ROW, ADAM = range(5)

ONE = np.ones((1, 1), np.float32)
"""What a bias is multiplied by: a row of gradients of width 1, compiled into the kernels."""


@device_function
def _elapsed(clock, row, step):  # type: ignore[no-untyped-def]
    """Return the steps since the row was last touched, at least one, and set its clock.

    Another worker may be ahead, so the clock never goes back.
    """
    passed = step - clock[row]
    if passed < 1:
        return 1
    clock[row] = step
    return passed


@device_function
def _momentum_row(w, velocity, clock, row, coef, x, x_row, lr, beta, step, salt):  # type: ignore[no-untyped-def]
    decay = f4(beta ** _elapsed(clock, row, step))
    for j in range(w.shape[1]):
        v = decay * velocity[row, j] + coef * x[x_row, j]
        velocity[row, j] = v
        put(w, row, j, value_at(w, row, j) - lr * v, salt)


@device_function
def _adagrad_row(w, squares, row, coef, x, x_row, lr, eps, salt):  # type: ignore[no-untyped-def]
    for j in range(w.shape[1]):
        g = coef * x[x_row, j]
        s = squares[row, j] + g * g
        squares[row, j] = s
        put(w, row, j, value_at(w, row, j) - lr * g / (math.sqrt(s) + eps), salt)


@device_function
def _adagrad_whole_row(w, squares, row, coef, x, x_row, lr, eps, salt):  # type: ignore[no-untyped-def]
    total = f4(0.0)
    for j in range(w.shape[1]):
        total += x[x_row, j] * x[x_row, j]
    s = squares[row, 0] + coef * coef * total / f4(w.shape[1])
    squares[row, 0] = s
    rate = lr * coef / (math.sqrt(s) + eps)
    for j in range(w.shape[1]):
        put(w, row, j, value_at(w, row, j) - rate * x[x_row, j], salt)


@device_function
def _adam_row(w, m1, m2, clock, row, coef, x, x_row, lr, hyper, step, salt):  # type: ignore[no-untyped-def]
    passed = _elapsed(clock, row, step)
    beta1, beta2, eps = hyper[0], hyper[1], hyper[2]
    decay1, decay2 = f4(beta1**passed), f4(beta2**passed)
    fresh1, fresh2 = f4(1.0) - beta1, f4(1.0) - beta2
    rate = f4(lr / (1.0 - beta1**step))
    unbias2 = f4(1.0 / (1.0 - beta2**step))
    for j in range(w.shape[1]):
        g = coef * x[x_row, j]
        a = decay1 * m1[row, j] + fresh1 * g
        b = decay2 * m2[row, j] + fresh2 * g * g
        m1[row, j] = a
        m2[row, j] = b
        put(w, row, j, value_at(w, row, j) - rate * a / (math.sqrt(b * unbias2) + eps), salt)


@device_function
def update_row(code, w, s1, s2, clock, row, coef, x, x_row, lr, hyper, step, salt=0):  # type: ignore[no-untyped-def]
    """Step row ``row`` of ``w`` along the gradient ``coef * x[x_row]``.

    code           SGD, MOMENTUM, ADAGRAD, ADAGRAD_ROW or ADAM
    w              f4 or u2[n, d] (`stored_rows`), with its states and clock as in the module's table
    x              f4[m, d]
    lr             learning rate
    hyper          f4[3]: momentum or beta1, beta2, eps
    step           i8, number of the step, from 1
    salt           of the rounding of bfloat16 rows: `stored_rows.salt_of`

    Concurrency: HOGWILD.  Allocates: nothing.  Cost: O(d).  Unchecked: ranges of the rows.
    Source: Adagrad (Duchi et al. 2011), figure 1; Adam (Kingma & Ba 2015), algorithm 1.
    """
    if code == ADAGRAD:
        _adagrad_row(w, s1, row, coef, x, x_row, lr, hyper[2], salt)
    elif code == ADAGRAD_ROW:
        _adagrad_whole_row(w, s1, row, coef, x, x_row, lr, hyper[2], salt)
    elif code == ADAM:
        _adam_row(w, s1, s2, clock, row, coef, x, x_row, lr, hyper, step, salt)
    elif code == MOMENTUM:
        _momentum_row(w, s1, clock, row, coef, x, x_row, lr, hyper[0], step, salt)
    else:
        rate = lr * coef
        for j in range(w.shape[1]):
            put(w, row, j, value_at(w, row, j) - rate * x[x_row, j], salt)


@device_function
def _adagrad_back(w, squares, row, coef, x, x_row, lr, eps, salt, grad):  # type: ignore[no-untyped-def]
    for j in range(w.shape[1]):
        g = coef * x[x_row, j]
        value = value_at(w, row, j)
        grad[x_row, j] += coef * value
        s = squares[row, j] + g * g
        squares[row, j] = s
        put(w, row, j, value - lr * g / (math.sqrt(s) + eps), salt)


@device_function
def update_row_back(  # type: ignore[no-untyped-def]
    code, w, s1, s2, clock, row, coef, x, x_row, lr, hyper, step, salt, grad
):
    """Add ``coef * w[row]`` to ``grad[x_row]``, f4[m, d], then step the row as `update_row` does.

    Element-wise Adagrad does both in one pass over the row: a row that has to come from memory is
    loaded once, and a third less time went into updates at width 128.
    """
    if code == ADAGRAD:
        _adagrad_back(w, s1, row, coef, x, x_row, lr, hyper[2], salt, grad)
        return
    for j in range(w.shape[1]):
        grad[x_row, j] += coef * value_at(w, row, j)
    update_row(code, w, s1, s2, clock, row, coef, x, x_row, lr, hyper, step, salt)


@kernel(void(i8, F4_2, F4_2, F4_2, I8_1, F4_2R, f4, F4_1R, i8))
def update_rows(code, w, s1, s2, clock, gradient, lr, hyper, step):  # type: ignore[no-untyped-def]
    """Step every row of ``w`` along the same row of ``gradient``: a dense layer's update.

    w         f4[n, d], shared, written HOGWILD, with its states and clock (see ``update_row``)
    gradient  f4[n, d]

    Concurrency: lost updates allowed.  Allocates: nothing.  Cost: O(n * d).
    Unchecked: that the shapes agree.
    """
    for row in range(w.shape[0]):
        update_row(code, w, s1, s2, clock, row, f4(1.0), gradient, row, lr, hyper, step)
