"""Load vectors, 16 at a time, into lines: the one place where dense and sparse input differ.

Line ``i`` of a block holds coordinate ``i`` of 16 vectors.  All hash families read lines,
so that a vector's codes cannot depend on how it was stored.
"""

from __future__ import annotations

from distlsh.kernels._ir import LANES, exact_function
from distlsh.kernels._jit import kernel
from distlsh.kernels._types import F4_1R, F4_2R, F4_3, I4_1R, I8_1R, f4, i8, void
from distlsh.kernels.lanes import transpose_16


@exact_function
def load_block(rows, first, last, center, lines):  # type: ignore[no-untyped-def]
    """Transpose 16 rows, less ``center``, into ``lines`` f4[>= d, 16].

    rows    f4[m, d]; rows ``first .. first+15``, where those after ``last`` repeat it
    center  f4[d]
    """
    d = rows.shape[1]
    whole = d // LANES * LANES
    for column in range(0, whole, LANES):
        transpose_16(rows, first, last, column, center, lines)
    for column in range(whole, d):
        for lane in range(LANES):
            lines[column, lane] = rows[min(first + lane, last), column] - center[column]


@kernel(void(F4_2R, F4_1R, f4, F4_3), fastmath=False)
def load_dense(rows, center, pad, lines):  # type: ignore[no-untyped-def]
    """Load dense rows into blocks of lines.

    rows    f4[m, d]
    center  f4[d], subtracted from each row
    pad     of the lines from d on
    lines   f4[>= ceil(m / 16), >= d, 16], written; lanes after the last row repeat it

    Concurrency: lines are one thread's own; rows may change meanwhile.  Allocates: nothing.
    Cost: O(m * width).  Unchecked: shapes.
    """
    m, d = rows.shape
    for first in range(0, m, LANES):
        block = lines[first // LANES]
        load_block(rows, first, m - 1, center, block)
        block[d:] = pad


@kernel(void(I8_1R, I4_1R, F4_1R, i8, i8, i8, F4_1R, f4, F4_3), fastmath=False)
def load_sparse(indptr, indices, values, first, last, n_dims, center, pad, lines):  # type: ignore[no-untyped-def]
    """Load sparse rows into blocks of lines, every line written.

    indptr, indices, values  i8[>= last + 1], i4, f4: the rows' non-zeros
    first, last              rows [first, last) are loaded
    n_dims                   d
    center                   f4[d], subtracted from each row; f4[0]: zeros
    pad                      of the lines from d on
    lines                    f4[>= ceil((last - first) / 16), >= d, 16], written

    Concurrency: lines are one thread's own.  Allocates: nothing.
    Cost: O((last - first) * width).  Unchecked: shapes, indices.
    """
    zero = f4(0.0)
    for block in range((last - first + LANES - 1) // LANES):
        for i in range(n_dims):
            lines[block, i] = zero - center[i] if len(center) else zero
        lines[block, n_dims:] = pad
    for row in range(first, last):
        block, lane = (row - first) // LANES, (row - first) % LANES
        for at in range(indptr[row], indptr[row + 1]):
            i = indices[at]
            lines[block, i, lane] = values[at] - center[i] if len(center) else values[at]


@kernel(void(I8_1R, I4_1R, F4_1R, i8, i8, F4_3), fastmath=False)
def put_sparse(indptr, indices, values, first, last, lines):  # type: ignore[no-untyped-def]
    """Write the non-zeros of rows [first, last) into lines that hold zeros; see `load_sparse`.

    Concurrency: lines are one thread's own.  Allocates: nothing.  Cost: O(non-zeros).
    Unchecked: shapes, indices.
    """
    for row in range(first, last):
        block, lane = (row - first) // LANES, (row - first) % LANES
        for at in range(indptr[row], indptr[row + 1]):
            lines[block, indices[at], lane] = values[at]


@kernel(void(I8_1R, I4_1R, i8, i8, F4_3), fastmath=False)
def take_sparse(indptr, indices, first, last, lines):  # type: ignore[no-untyped-def]
    """Undo `put_sparse`: so lines as wide as a vocabulary need not be cleared row by row.

    Concurrency: lines are one thread's own.  Allocates: nothing.  Cost: O(non-zeros).
    Unchecked: shapes, indices.
    """
    for row in range(first, last):
        block, lane = (row - first) // LANES, (row - first) % LANES
        for at in range(indptr[row], indptr[row + 1]):
            lines[block, indices[at], lane] = f4(0.0)
