"""What must hold of tables that come from a file: kernels trust shapes, codes and ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from distlsh.config.schema import Policy
from distlsh.constants import EMPTY
from distlsh.errors import StoreError
from distlsh.lsh.layout import ADDED_LATER, GENERATION, N_BUFFERS, table_specs
from distlsh.lsh.spec import HashSpec

Arrays = Mapping[str, NDArray[Any]]

_MOST = 1 << 20
"""Numbers whose range is looked at together: they stay in cache for the second look."""

_LARGEST_COUNT = 2**31 - 2
_LAST_GENERATION = 2**62


def check_arrays(
    arrays: Arrays, spec: HashSpec, n_rows: int, policy: str = "fifo", *, contents: bool = True
) -> None:
    """Raise StoreError, naming the array, unless tables of ``n_rows`` rows can be used as they are.

    arrays    by the names of `table_specs`, both buffers; others are not looked at
    spec      how rows were hashed
    policy    of the buckets
    contents  also look at every id, size and code of the current buffer, which reads them once.  The other
              buffer is always overwritten before it is read.

    Whoever lets kernels near tables that were read from a file calls this first.
    """
    check_shapes(arrays, spec, n_rows, policy, buffers=N_BUFFERS)
    generation = arrays[GENERATION]
    if not 0 <= generation[0] <= _LAST_GENERATION:
        raise StoreError(f"{GENERATION} is {generation[0]}; generations count from 0, to 2^62 at most")
    if contents:
        check_contents(arrays, spec, n_rows, int(generation[0]) % N_BUFFERS, policy)


def check_shapes(arrays: Arrays, spec: HashSpec, n_rows: int, policy: str, *, buffers: int) -> None:
    """Raise StoreError unless the arrays have the types and shapes that tables of these settings have."""
    if policy not in get_args(Policy):
        raise StoreError(f"a bucket policy of {policy!r}; there are {', '.join(get_args(Policy))}")
    ids: NDArray[Any] | None = arrays.get("tables.ids")
    if ids is None or ids.ndim != 4 or ids.shape[3] < 1:
        what = "missing" if ids is None else f"of shape {list(ids.shape)}"
        raise StoreError(f"tables.ids is {what}; it needs four dimensions")
    sketch = "tables.sketch" in arrays
    for wanted in table_specs(spec, n_rows, ids.shape[3], policy=policy, sketch=sketch, buffers=buffers):
        if buffers == 1 and wanted.name == GENERATION:
            continue
        if buffers > 1 and wanted.name in ADDED_LATER and wanted.name not in arrays:
            continue
        found = arrays.get(wanted.name)
        if found is None:
            raise StoreError(f"{wanted.name} is missing")
        if found.shape != wanted.shape or found.dtype != wanted.dtype or not found.flags.c_contiguous:
            raise StoreError(
                f"{wanted.name} is {found.dtype}{list(found.shape)}; these hash functions and rows need "
                f"{np.dtype(wanted.dtype)}{list(wanted.shape)} in C order"
            )


def check_contents(arrays: Arrays, spec: HashSpec, n_rows: int, buffer: int, policy: str) -> None:
    """Raise StoreError for a size, id, count or code of a buffer that kernels cannot take; shapes fit."""
    from distlsh.kernels.checks import GOOD, first_bad_bucket

    ids, sizes = arrays["tables.ids"][buffer], arrays["tables.sizes"][buffer]
    bad = int(first_bad_bucket(ids, sizes, n_rows, np.empty(n_rows, np.int32)))
    if bad != GOOD:
        table, bucket = divmod(bad, spec.n_buckets)
        raise StoreError(
            f"tables.ids: bucket {bucket} of table {table} holds more than {ids.shape[2]} ids, one twice, "
            f"or one outside of [0, {n_rows})"
        )
    _check_range("tables.codes", arrays["tables.codes"], EMPTY, spec.n_buckets - 1)
    _check_range("tables.seen", arrays["tables.seen"][buffer], 0, _LARGEST_COUNT)
    if policy != "bottom_k":  # there they are the bits of a float
        _check_range("tables.unpaired", arrays["tables.unpaired"][buffer], 0, _LARGEST_COUNT)


def _check_range(name: str, array: NDArray[Any], least: int, most: int) -> None:
    flat = array.reshape(-1)
    for first in range(0, len(flat), _MOST):
        part = flat[first : first + _MOST]
        low, high = int(part.min()), int(part.max())
        if low < least or high > most:
            raise StoreError(f"{name} holds values from {low} to {high}; they must lie in [{least}, {most}]")
