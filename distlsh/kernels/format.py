"""Arrays of sparse instances to text."""

from __future__ import annotations

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import F4_1R, I4_1R, U1_1, i8

_NEWLINE, _SPACE, _COMMA, _MINUS, _DOT, _ZERO, _COLON = 10, 32, 44, 45, 46, 48, 58


@device_function
def _write_int(out, at, number):  # type: ignore[no-untyped-def]
    """Write ``number`` >= 0 in decimal at ``at``; return where it ends."""
    n_digits = i8(1)
    rest = number // 10
    while rest > 0:
        n_digits += 1
        rest //= 10
    end = at + n_digits
    rest = number
    for place in range(end - 1, at - 1, -1):
        out[place] = _ZERO + rest % 10
        rest //= 10
    return end


def text_capacity(n_rows: int, n_labels: int, n_features: int) -> int:
    """Return the most bytes that `format_rows` writes for so many entries."""
    return 2 * n_rows + 12 * n_labels + 32 * n_features


@kernel(i8(I4_1R, I4_1R, I4_1R, I4_1R, F4_1R, i8, U1_1))
def format_rows(label_sizes, feature_sizes, labels, indices, values, decimals, out):  # type: ignore[no-untyped-def]
    """Write a block in the Extreme Classification format; return the bytes written.

    label_sizes, feature_sizes   i4[n_rows]
    labels, indices, values      i4, i4, f4, one after another
    decimals                     places after the point, 1 to 9; values are rounded, |value| < 1e9
    out                          u1[>= text_capacity(...)], written

    Concurrency: none shared.  Allocates: nothing.  Cost: O(bytes written).  Unchecked: sizes.
    """
    scale = i8(1)
    for _ in range(decimals):
        scale *= 10
    at, lab, feat = i8(0), i8(0), i8(0)
    for row in range(label_sizes.shape[0]):
        for k in range(label_sizes[row]):
            if k > 0:
                out[at] = _COMMA
                at += 1
            at = _write_int(out, at, i8(labels[lab]))
            lab += 1
        for _ in range(feature_sizes[row]):
            out[at] = _SPACE
            at = _write_int(out, at + 1, i8(indices[feat]))
            out[at] = _COLON
            at += 1
            value = float(values[feat])
            if value < 0.0:
                out[at] = _MINUS
                at += 1
                value = -value
            fixed = int(value * scale + 0.5)
            at = _write_int(out, at, fixed // scale)
            out[at] = _DOT
            rest = fixed % scale
            for place in range(at + decimals, at, -1):
                out[place] = _ZERO + rest % 10
                rest //= 10
            at += decimals + 1
            feat += 1
        out[at] = _NEWLINE
        at += 1
    return at
