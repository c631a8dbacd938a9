"""Sorting of the few ids of one instance, and selection by rank, in place."""

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


@device_function
def nth_smallest(values, n, nth):  # type: ignore[no-untyped-def]
    """Return the ``nth`` smallest, from 1, of ``values[:n]`` (no NaN), which is reordered (Hoare 1961)."""
    low, high, place = 0, n - 1, nth - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if place <= j:
            high = j
        elif place >= i:
            low = i
        else:
            break
    return values[place]
