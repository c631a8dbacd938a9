"""Asymmetric transforms: largest inner products become smallest angles or distances.

A row x is scaled by the largest norm M of all rows and gets coordinates that depend on
its own norm alone; a query q is scaled to unit length and gets constants.  With
s = U / M (U is 1 for simple):

    simple     P(x) = [s x, sqrt(1 - |s x|^2)]                     Q(q) = [q / |q|, 0]
    l2_alsh    P(x) = [s x, |s x|^2, |s x|^4, |s x|^8]             Q(q) = [q / |q|, 1/2, 1/2, 1/2]
    sign_alsh  P(x) = [s x, 1/2 - |s x|^2, 1/2 - |s x|^4]          Q(q) = [q / |q|, 0, 0]

Sources: Neyshabur & Srebro 2015, "On symmetric and asymmetric LSHs for inner product search",
section 4.2 (simple, after Bachrach et al. 2014); Shrivastava & Li 2014, "Asymmetric LSH (ALSH)
for sublinear time MIPS", sections 4.2 and 4.4 (l2_alsh, m = 3, U = 0.83); Shrivastava & Li 2015,
"Improved ALSH for MIPS", section 3 (sign_alsh, m = 2, U = 0.75).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distlsh.errors import ConfigError, ShapeError, UsageError
from distlsh.lsh.rows import Floats, Rows, SparseRows

Doubles = NDArray[np.float64]

TRANSFORMS = ("none", "simple", "l2_alsh", "sign_alsh")
SHRINK = {"none": 1.0, "simple": 1.0, "l2_alsh": 0.83, "sign_alsh": 0.75}
"""U: the length of the longest row after scaling, as the papers recommend."""

_EXTRA = {"none": 0, "simple": 1, "l2_alsh": 3, "sign_alsh": 2}
_BLOCK = 1 << 16
"""Values squared at a time, in float64: bounds the memory of norms."""


def extra_dims(kind: str) -> int:
    """Return how many coordinates the transform appends.  ConfigError for an unknown one."""
    if kind not in TRANSFORMS:
        raise ConfigError(f"lsh.transform is {kind!r}; it must be one of {', '.join(TRANSFORMS)}")
    return _EXTRA[kind]


def norms(X: Rows) -> Doubles:
    """Return the Euclidean length f8[m] of each row f4[m, n_dims] or `SparseRows`.

    Squares are summed in float64 from the first dimension to the last, so a row has the
    same length dense and sparse, alone and among others.
    Raises UsageError for a NaN or an infinity, naming the row.
    """
    squares = _sparse_squares(X) if isinstance(X, SparseRows) else _dense_squares(X)
    if not np.isfinite(squares).all():
        bad = int(np.flatnonzero(~np.isfinite(squares))[0])
        raise UsageError(f"row {bad} of the vectors to hash holds a NaN or an infinity; hash finite numbers")
    return np.sqrt(squares)


def largest_norm(X: Rows) -> float:
    """Return the length of the longest row: the ``max_norm`` that `rows` wants; 0.0 without rows."""
    return float(norms(X).max(initial=0.0))


def rows(kind: str, X: Rows, max_norm: float) -> Rows:
    """Return the transformed rows P(x), dense or sparse as given, ``extra_dims(kind)`` wider.

    X         f4[m, n_dims] or `SparseRows`; left as it is
    max_norm  length of the longest row of all that are compared, from `largest_norm`;
              a longer row is shortened to it

    "none" returns ``X`` itself.  A result is as large as its rows: give many in blocks.
    Raises UsageError for a NaN, an infinity or a ``max_norm`` that is not above 0,
    ConfigError for an unknown transform.
    """
    extra = extra_dims(kind)
    if not extra:
        return X
    if not 0 < max_norm < np.inf:
        raise UsageError(
            f"max_norm is {max_norm}; it must be the length of the longest row, above 0: rows that are all "
            "zeros have no inner products to order, so hash them with lsh.transform: none"
        )
    lengths = norms(X)
    scale = SHRINK[kind] / np.maximum(lengths, max_norm)
    return _extended(X, scale, _row_tail(kind, lengths * scale))


def queries(kind: str, Q: Rows) -> Rows:
    """Return the transformed queries Q(q), dense or sparse as given, ``extra_dims(kind)`` wider.

    Q  f4[m, n_dims] or `SparseRows`; left as it is

    A query of zeros stays zeros in its own coordinates.  "none" returns ``Q`` itself.
    Raises UsageError for a NaN or an infinity, ConfigError for an unknown transform.
    """
    extra = extra_dims(kind)
    if not extra:
        return Q
    lengths = norms(Q)
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    constant = 0.5 if kind == "l2_alsh" else 0.0
    return _extended(Q, scale, np.full((len(lengths), extra), constant))


def _row_tail(kind: str, lengths: Doubles) -> Doubles:
    """Return f8[m, extra] of rows whose scaled lengths are given."""
    square = lengths**2
    if kind == "simple":
        return np.sqrt(np.maximum(0.0, 1.0 - square))[:, None]
    powers = np.stack([square ** (2**i) for i in range(_EXTRA[kind])], axis=1)
    return powers if kind == "l2_alsh" else 0.5 - powers


def _extended(X: Rows, scale: Doubles, tail: Doubles) -> Rows:
    """Return each row times its ``scale``, with its row of ``tail`` appended."""
    factors, ends = scale.astype(np.float32), tail.astype(np.float32)
    if isinstance(X, SparseRows):
        return _extended_sparse(X, factors, ends)
    m, n_dims = X.shape
    out = np.empty((m, n_dims + ends.shape[1]), np.float32)
    np.multiply(X, factors[:, None], out=out[:, :n_dims])
    out[:, n_dims:] = ends
    return out


def _extended_sparse(X: SparseRows, factors: Floats, ends: Floats) -> SparseRows:
    m, extra = ends.shape
    here = slice(X.indptr[0], X.indptr[-1])
    indptr = X.indptr - X.indptr[0]
    values = X.values[here] * np.repeat(factors, np.diff(indptr))
    # Zeros of the tail are left out: families of sets and ranks would take them for values.
    kept = ends != 0
    after = np.repeat(indptr[1:], kept.sum(axis=1))
    columns = np.broadcast_to(np.arange(X.n_dims, X.n_dims + extra, dtype=np.int32), (m, extra))
    return SparseRows(
        indptr=indptr + np.concatenate([[0], np.cumsum(kept.sum(axis=1))]),
        indices=np.insert(X.indices[here], after, columns[kept]),
        values=np.insert(values, after, ends[kept]),
        n_dims=X.n_dims + extra,
    )


def _dense_squares(X: Floats) -> Doubles:
    if X.ndim != 2:
        raise ShapeError(f"vectors to hash have shape {X.shape}; they must be (m, n_dims)")
    m, n_dims = X.shape
    step = max(1, _BLOCK // max(1, n_dims))
    found = np.zeros(m)
    for first in range(0, m, step):
        block = X[first : first + step]
        row = np.repeat(np.arange(len(block)), n_dims)
        found[first : first + step] = _sums(row, block.ravel(), len(block))
    return found


def _sparse_squares(X: SparseRows) -> Doubles:
    m = len(X.indptr) - 1
    found = np.zeros(m)
    first = 0
    while first < m:
        # As many rows as hold a block of values, and at least one.
        last = int(np.searchsorted(X.indptr, X.indptr[first] + _BLOCK, side="right")) - 1
        last = min(m, max(last, first + 1))
        row = np.repeat(np.arange(last - first), np.diff(X.indptr[first : last + 1]))
        found[first:last] = _sums(row, X.values[X.indptr[first] : X.indptr[last]], last - first)
        first = last
    return found


def _sums(row: NDArray[np.int64], values: Floats, m: int) -> Doubles:
    # bincount adds strictly in order; reductions add in an order that depends on the shape.
    sums = np.bincount(row, weights=np.square(values, dtype=np.float64), minlength=m)
    return sums.astype(np.float64, copy=False)  # without values they are integers
