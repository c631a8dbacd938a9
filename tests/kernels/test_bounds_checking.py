"""With NUMBA_BOUNDSCHECK=1, what would be read or written outside of an array is an IndexError."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import numba, numpy as np
from distlsh.kernels.atomics import load_shared, store_shared
from distlsh.kernels.lanes import butterfly_8, transpose_16

@numba.njit
def plain(array, i):
    return array[i]

@numba.njit
def shared(array, i):
    return load_shared(array, i)

@numba.njit
def store(array, i):
    store_shared(array, i, 1)

@numba.njit
def lines(array, first):
    butterfly_8(array, first, 1)

@numba.njit
def transposed(rows, column, center, out):
    transpose_16(rows, 0, rows.shape[0] - 1, column, center, out)

def outcome(function, *args):
    try:
        function(*args)
    except IndexError:
        return "refused"
    return "done"

numbers, block = np.zeros(4, np.int64), np.zeros((8, 16), np.float32)
rows, center, out = np.zeros((2, 16), np.float32), np.zeros(16, np.float32), np.zeros((16, 16), np.float32)
for function, good, bad in (
    (plain, (numbers, 3), (numbers, 4)),
    (shared, (numbers, 3), (numbers, 4)),
    (store, (numbers, 0), (numbers, -1)),
    (lines, (block, 0), (block, 1)),
    (transposed, (rows, 0, center, out), (rows, 16, center, out)),
):
    print(function.__name__, outcome(function, *good), outcome(function, *bad))
"""


def test_indexing_and_intrinsics_are_checked_where_asked_for():
    """Plain indexing, atomics, lines of vectors: in bounds they do their work, outside they raise."""
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = ("plain", "shared", "store", "lines", "transposed")
    assert done.stdout.splitlines() == [f"{name} done refused" for name in names]
