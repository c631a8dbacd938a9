"""Sorting of the few ids of one instance, in place."""

from __future__ import annotations

from distlsh.kernels._jit import device_function


@device_function
def sort_ids(ids, start, stop):  # type: ignore[no-untyped-def]
    """Sort places [start, stop) of ``ids`` ascending, by insertion: they are few, and often in order."""
    for i in range(start + 1, stop):
        key = ids[i]
        j = i
        while j > start and ids[j - 1] > key:
            ids[j] = ids[j - 1]
            j -= 1
        ids[j] = key
