"""Losses over a list of logits, and the rounding of their gradients: whatever the layer's inputs are."""

from __future__ import annotations

import math

from distlsh.kernels._jit import device_function
from distlsh.kernels._types import f4
from distlsh.kernels.random import uniform_at

SOFTMAX, BCE = range(2)


@device_function
def softmax_loss(logits, b0, n):  # type: ignore[no-untyped-def]
    """Turn logits into gradients ``p - 1/b0`` or ``p``; return the cross-entropy, b0 > 0."""
    top = logits[0]
    for k in range(1, n):
        top = max(top, logits[k])
    labels = 0.0
    for k in range(b0):
        labels += logits[k] - top
    total = 0.0
    for k in range(n):
        e = math.exp(logits[k] - top)
        logits[k] = e
        total += e
    inverse = f4(1.0 / total)
    for k in range(n):
        logits[k] *= inverse
    share = f4(1.0 / b0)
    for k in range(b0):
        logits[k] -= share
    return math.log(total) - labels / b0


@device_function
def bce_loss(logits, b0, n):  # type: ignore[no-untyped-def]
    """Turn logits into gradients ``sigmoid - target``; return the sum of the cross-entropies."""
    loss = 0.0
    for k in range(n):
        z = logits[k]
        e = math.exp(-abs(z))
        loss += max(z, f4(0.0)) + math.log1p(e)
        inverse = f4(1.0) / (f4(1.0) + e)
        p = inverse if z >= f4(0.0) else e * inverse
        if k < b0:
            loss -= z
            p -= f4(1.0)
        logits[k] = p
    return loss


@device_function
def round_gradients(gradients, n, tau, seed, kept):  # type: ignore[no-untyped-def]
    """List the places of gradients to apply; a smaller one than ``tau`` becomes 0 or +-tau.

    With probability |g| / tau it is tau with its sign, so its expectation is unchanged.
    """
    n_kept = 0
    for k in range(n):
        size = abs(gradients[k])
        if size < tau:
            if uniform_at(seed, k) * tau >= size:
                continue
            gradients[k] = math.copysign(tau, gradients[k])
        elif size == f4(0.0):
            continue
        kept[n_kept] = k
        n_kept += 1
    return n_kept
