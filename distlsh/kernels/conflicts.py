"""Counting how often two workers have the same output row in a batch at once."""

from __future__ import annotations

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import I4_1, I4_2R, i4, i8, void


@kernel(i8(I4_1, I4_2R, I4_2R, i4))
def enter_rows(holders, active, bounds, me):  # type: ignore[no-untyped-def]
    """Write ``me`` at each active row; return how many another worker held.

    holders  i4[n_labels], shared, written by all workers: who has the row in a batch, 0 for nobody
    active   i4[m, cap], each sample's active rows, in places [0, bounds[i, 2])
    bounds   i4[m, 3]
    me       worker's number from 1

    A row in several of the batch's samples counts for each.

    Concurrency: any; of two workers that enter a row at the same moment one may miss the other.
    Allocates: nothing.  Cost: O(active rows).  Unchecked: ranges.
    Source: Niu et al. 2011 (HOGWILD), where rho is the share of updates that meet on a coordinate.
    """
    met = 0
    for i in range(active.shape[0]):
        for k in range(bounds[i, 2]):
            holder = holders[active[i, k]]
            met += holder != 0 and holder != me
            holders[active[i, k]] = me
    return met


@kernel(void(I4_1, I4_2R, I4_2R, i4))
def leave_rows(holders, active, bounds, me):  # type: ignore[no-untyped-def]
    """Write 0 at each active row that still shows ``me``; arguments as `enter_rows`.

    Concurrency: any; a row that another worker has taken over meanwhile stays its.
    """
    for i in range(active.shape[0]):
        for k in range(bounds[i, 2]):
            if holders[active[i, k]] == me:
                holders[active[i, k]] = 0
