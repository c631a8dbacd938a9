"""Which table buffer is current, and who still reads which.

Generation g of the tables lies in buffer ``g % 2``.  The rehasher, the only writer,
fills the buffer of generation g + 1 (that of g - 1) and publishes it; a worker takes
the current generation into its reader slot before it reads, and lets go afterwards.
The writer starts on a buffer only when `writable` says that no slot shows a generation
before the current one.

Why a reader never holds a buffer that is being rewritten:

    reader (`acquire`)                  writer (`publish`, then `writable`)
    a. g = generation                   1. generation = g + 1
    b. slot = g                         2. fence
    c. fence                            3. read slot
    d. read generation again; if it
       is not g, start over

Each side stores, fences, then loads what the other stored.  Without the fences the
store may wait in the core's store buffer while the load is already served, on x86 too,
and both sides could miss each other's store: the reader would keep g, the writer would
see no reader of it.  With them at least one side sees the other: either the writer sees
slot = g and waits, or the reader sees g + 1 and starts over.  Generations only grow, so
equality in d means that nothing was published between a and d.  The release store in 1
puts the filled buffer in view before its number.

A worker that died holding a slot blocks the writer until somebody releases its slot.
"""

from __future__ import annotations

from distlsh.constants import EMPTY
from distlsh.kernels._jit import kernel
from distlsh.kernels._types import I4_1R, I8_1, I8_1R, I8_2, I8_2R, U1_1, b1, i8, void
from distlsh.kernels.atomics import fence, load_shared, store_shared

GENERATION_WIDTH = 8
"""Elements of the i8 array ``generation``; place 0 is used, the others fill the cache line."""


@kernel(i8(I8_1R, I8_2, i8))
def acquire(generation, slots, worker):  # type: ignore[no-untyped-def]
    """Show in the worker's slot that it reads the current generation; return that generation.

    generation  i8[8], place 0
    slots       i8[n_workers, 8], a cache line each, place 0; EMPTY (-1) where nothing is read
    worker      row of ``slots`` that this caller alone writes

    Concurrency: any number of readers, each its own slot; one writer.  Starts over only
    when a publication falls between two loads.  Source: this module's description.
    """
    slot = slots[worker]
    while True:
        current = load_shared(generation, 0)
        store_shared(slot, 0, current)
        fence()
        if load_shared(generation, 0) == current:
            return current


@kernel(void(I8_2, i8))
def release(slots, worker):  # type: ignore[no-untyped-def]
    """Show that the worker reads no generation; also for the slot of a worker that died."""
    store_shared(slots[worker], 0, EMPTY)


@kernel(void(I8_1, i8))
def publish(generation, new):  # type: ignore[no-untyped-def]
    """Make ``new`` the current generation, after its buffer is filled.

    Only the rehasher calls this, with numbers that grow by one.
    """
    store_shared(generation, 0, new)
    fence()


@kernel(void(U1_1, I4_1R))
def clear_marks(dirty, ids):  # type: ignore[no-untyped-def]
    """Clear the dirty marks of rows that are about to be read.

    dirty  u1[n_rows], which workers set after they change a row
    ids    i4[n], the rows

    The fence keeps the rows from being read before their marks are cleared: an update that
    the reader misses sets its mark again.
    """
    for i in range(ids.shape[0]):
        dirty[ids[i]] = 0
    fence()


@kernel(b1(I8_1R, I8_2R))
def writable(generation, slots):  # type: ignore[no-untyped-def]
    """Return whether the buffer that is not current has no reader left.

    Once true it stays true until the next publication: readers only ever take the
    current generation.
    """
    fence()
    current = load_shared(generation, 0)
    for worker in range(slots.shape[0]):
        shown = load_shared(slots[worker], 0)
        if shown != EMPTY and shown < current:
            return False
    return True
