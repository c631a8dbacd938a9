"""Load a single vector as it is: what `kernels.blocks` does for 16 at a time."""

from __future__ import annotations

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import F4_1, F4_1R, F4_2R, I4_1R, I8_1R, f4, i8, void


@kernel(void(F4_2R, i8, F4_1R, F4_1), fastmath=False)
def load_one_dense(rows, row, center, vector):  # type: ignore[no-untyped-def]
    """Write a row less ``center``.

    rows    f4[m, d]
    row     in [0, m)
    center  f4[d], or f4[0]: nothing is subtracted
    vector  f4[>= d], its first d places written

    Concurrency: vector is one thread's own; rows may change meanwhile.  Allocates: nothing.  Cost: O(d).
    Unchecked: shapes, row.
    """
    if len(center):
        for i in range(rows.shape[1]):
            vector[i] = rows[row, i] - center[i]
    else:
        for i in range(rows.shape[1]):
            vector[i] = rows[row, i]


@kernel(void(I8_1R, I4_1R, F4_1R, i8, i8, F4_1R, F4_1), fastmath=False)
def load_one_sparse(indptr, indices, values, row, n_dims, center, vector):  # type: ignore[no-untyped-def]
    """Write a sparse row less ``center`` into ``vector``, which without a center holds zeros.

    indptr, indices, values  i8[> row + 1], i4, f4: the rows' non-zeros
    row     in [0, len(indptr) - 1)
    n_dims  d
    center  f4[d], or f4[0]: only the non-zeros are written
    vector  f4[>= d]

    Concurrency: vector is one thread's own.  Allocates: nothing.  Cost: O(non-zeros), with a center O(d).
    Unchecked: shapes, row, indices.
    """
    if len(center):
        for i in range(n_dims):
            vector[i] = f4(0.0) - center[i]
    for at in range(indptr[row], indptr[row + 1]):
        i = indices[at]
        vector[i] = values[at] - center[i] if len(center) else values[at]


@kernel(void(I8_1R, I4_1R, i8, F4_1), fastmath=False)
def unload_one_sparse(indptr, indices, row, vector):  # type: ignore[no-untyped-def]
    """Undo `load_one_sparse` without a center: the vector holds zeros again.

    Concurrency: vector is one thread's own.  Allocates: nothing.  Cost: O(non-zeros).
    Unchecked: shapes, row, indices.
    """
    for at in range(indptr[row], indptr[row + 1]):
        vector[indices[at]] = f4(0.0)
