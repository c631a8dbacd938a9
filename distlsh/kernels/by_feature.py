"""One step of the optimiser a distinct feature of a batch, however many of its instances have it."""

from __future__ import annotations

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import F4_1, F4_1R, F4_2, F4_2R, I4_1, I4_1R, I8_1, I8_1R, f4, i8, u8, void
from distlsh.kernels.input_layer import add_row_sum
from distlsh.kernels.optim import update_row
from distlsh.kernels.prefetch import prefetch_row
from distlsh.kernels.stored_rows import salt_of, stored_kernel


@kernel(i8(I8_1R, I4_1R, F4_1R, I4_1, I4_1, I8_1, I4_1, F4_1))
def group_by_feature(indptr, indices, values, places, features, starts, rows, by_feature):  # type: ignore[no-untyped-def]
    """Transpose a CSR matrix of few rows, keeping only columns that are not empty; return how many.

    indptr, indices, values  i8[m+1] from 0, i4[nnz], f4[nnz] or longer; a row may have a feature twice
    places      i4[n_features], scratch, of zeros; zeros again at the end
    features    i4[distinct features] or longer, overwritten, in order of their first appearance
    starts      i8[distinct features + 1] or longer, overwritten: feature k's entries are the
                places starts[k] to starts[k+1] of
    rows        i4[nnz] or longer, overwritten: rows, ascending, and
    by_feature  f4[nnz] or longer, overwritten: values

    Concurrency: none needed.  Allocates: nothing.  Cost: O(nnz).  Unchecked: room, ranges.
    """
    n, m = 0, indptr.shape[0] - 1
    for p in range(indptr[m]):
        feature = indices[p]
        if places[feature] == 0:
            features[n] = feature
            n += 1
        places[feature] += 1
    # Counts become each feature's next free place.
    at = 0
    for k in range(n):
        starts[k] = at
        at += places[features[k]]
        places[features[k]] = starts[k]
    starts[n] = at
    for i in range(m):
        for p in range(indptr[i], indptr[i + 1]):
            at = places[indices[p]]
            rows[at], by_feature[at] = i, values[p]
            places[indices[p]] = at + 1
    for k in range(n):
        places[features[k]] = 0
    return n


@stored_kernel(
    7, void(I4_1R, I8_1R, I4_1R, F4_1R, F4_2R, F4_2, i8, F4_2, F4_2, F4_2, I8_1, f4, F4_1R, i8, u8)
)
def step_features(  # type: ignore[no-untyped-def]
    features, starts, rows, values, delta, gradient, code, w, s1, s2, clock, lr, hyper, step, seed
):  # fmt: skip
    """Step the row of each feature once, along the sum of its gradients over a batch.

    features  i4[k], distinct
    starts, rows, values  i8[k+1], i4[nnz], f4[nnz], of ``group_by_feature``
    delta     f4[m, d], gradient of the loss to each instance's sums
    gradient  f4[1, d], scratch, overwritten
    seed      random state of the rounding of bfloat16 rows
    code, w, s1, s2, clock, lr, hyper, step   as in ``optim.update_row``; w f4 or u2[n_features, d]

    Concurrency: HOGWILD, lost updates allowed.  Allocates: nothing.  Cost: O((nnz + k) * d).
    Unchecked: ranges.
    """
    for k in range(features.shape[0]):
        prefetch_row(w, features[k])
        if s1.shape[0] > 1:
            prefetch_row(s1, features[k])
        for j in range(gradient.shape[1]):
            gradient[0, j] = f4(0.0)
        add_row_sum(rows, values, starts[k], starts[k + 1], u8(0), f4(1.0), delta, gradient, 0)
        row = features[k]
        salt = salt_of(seed + u8(step), row)
        update_row(code, w, s1, s2, clock, row, f4(1.0), gradient, 0, lr, hyper, step, salt)
