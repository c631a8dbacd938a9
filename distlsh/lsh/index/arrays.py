"""Arrays that start a cache line: a sketch is one line, a row as few as can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

LINE = 64


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an uninitialised array in C order whose first byte starts a cache line."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    raw = np.empty(size + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size].view(kind).reshape(shape)


def copied(array: NDArray[Any]) -> NDArray[Any]:
    """Return a copy of an array."""
    out = empty(array.shape, array.dtype)
    out[...] = array
    return out


def stacked(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return arrays of equal width below one another."""
    n = sum(len(array) for array in arrays)
    out = empty((n, *arrays[0].shape[1:]), arrays[0].dtype)
    np.concatenate(arrays, out=out)
    return out
