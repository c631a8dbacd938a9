from __future__ import annotations

import mmap
import multiprocessing
import threading

import numpy as np
import pytest
from numba import njit

from distlsh.constants import EMPTY
from distlsh.kernels._jit import device_function
from distlsh.kernels.atomics import load_shared, store_shared
from distlsh.shm.generation import GENERATION_WIDTH, acquire, publish, release, writable

N_CELLS = 64
TORN, DONE, NOISE = 1, 2, 3
"""Places of a slot's cache line that the tests use."""


class Shared:
    """A generation, reader slots and two buffers in memory that forked processes share.

    They start cache lines, as in a run: on one line, errors would not show.
    """

    def __init__(self, n_readers):
        size = GENERATION_WIDTH + 8 * n_readers + 2 * N_CELLS
        flat = np.ndarray(size, np.int64, mmap.mmap(-1, 8 * size))
        self.generation = flat[:GENERATION_WIDTH]
        self.slots = flat[GENERATION_WIDTH : GENERATION_WIDTH + 8 * n_readers].reshape(n_readers, 8)
        self.buffers = flat[-2 * N_CELLS :].reshape(2, N_CELLS)

    def reset(self):
        self.generation[:] = self.buffers[:] = 0
        self.slots[:] = 0
        self.slots[:, 0] = EMPTY


def test_acquire_shows_the_generation_and_release_hides_it():
    """A slot shows the generation that was current when its worker acquired, until it is released."""
    shared = Shared(3)
    shared.reset()
    publish(shared.generation, 4)
    assert acquire(shared.generation, shared.slots, 1) == 4
    publish(shared.generation, 5)
    assert acquire(shared.generation, shared.slots, 2) == 5
    assert shared.slots[:, 0].tolist() == [EMPTY, 4, 5]
    release(shared.slots, 1)
    assert shared.slots[:, 0].tolist() == [EMPTY, EMPTY, 5]


def test_the_idle_buffer_is_writable_once_its_readers_have_left():
    """A reader of the generation before the current one blocks the writer; one of the current does not."""
    shared = Shared(2)
    shared.reset()
    assert writable(shared.generation, shared.slots)
    acquire(shared.generation, shared.slots, 0)
    assert writable(shared.generation, shared.slots)
    publish(shared.generation, 1)
    assert not writable(shared.generation, shared.slots)
    acquire(shared.generation, shared.slots, 1)
    assert not writable(shared.generation, shared.slots)
    acquire(shared.generation, shared.slots, 0)
    assert writable(shared.generation, shared.slots)


@device_function
def _holds_only(buffer, value):
    others = 0
    for i in range(buffer.shape[0]):
        others += buffer[i] != value
    return others == 0


@njit(nogil=True)
def read_often(generation, slots, buffers, worker, n_reads):
    """Take the current generation ``n_reads`` times; note how many reads met the writer's writing."""
    torn = 0
    for _ in range(n_reads):
        seen = acquire(generation, slots, worker)
        torn += not _holds_only(buffers[seen % 2], seen)
        release(slots, worker)
    slots[worker, TORN] = torn
    store_shared(slots[worker], DONE, 1)


@njit(nogil=True)
def write_while_read(generation, slots, buffers):
    """Fill and publish one generation after the other, until all readers are done; return the last."""
    new, n_done = 0, 0
    while n_done < slots.shape[0]:
        # Many tries between looks at the readers: the window for an error is a few nanoseconds.
        for _ in range(1000):
            if writable(generation, slots):
                new += 1
                for i in range(buffers.shape[1]):
                    buffers[new % 2, i] = new
                # Taking the slots' lines away makes the readers' stores to them wait.
                slots[:, NOISE] = new
                publish(generation, new)
        n_done = 0
        for worker in range(slots.shape[0]):
            n_done += load_shared(slots[worker], DONE)
    return new


def test_threads_never_read_a_buffer_that_is_being_written():
    """A reader and a writer at full speed: the reader never meets a half-filled buffer.

    Without the fences of `acquire`, `publish` and `writable`, a longer run on two x86 cores met
    one in a thousand reads; a run as short as this one may miss them.
    """
    shared = Shared(1)
    shared.reset()
    everything = (shared.generation, shared.slots, shared.buffers)
    read_often(*everything, 0, 0)
    write_while_read(*everything)
    shared.reset()
    reader = threading.Thread(target=read_often, args=(*everything, 0, 8_000_000))
    reader.start()
    last = write_while_read(*everything)
    reader.join()
    assert last > 100
    assert shared.slots[0, TORN] == 0


def _read_in_a_process(shared, worker, n_reads):
    read_often(shared.generation, shared.slots, shared.buffers, worker, n_reads)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_never_read_a_buffer_that_is_being_written():
    """Two reading processes and a writing one over shared memory: the same."""
    shared = Shared(2)
    shared.slots[:, DONE] = 1
    everything = (shared.generation, shared.slots, shared.buffers)
    read_often(*everything, 0, 0)
    write_while_read(*everything)
    shared.reset()
    context = multiprocessing.get_context("fork")
    readers = [
        context.Process(target=_read_in_a_process, args=(shared, worker, 200_000)) for worker in range(2)
    ]
    try:
        for reader in readers:
            reader.start()
        last = write_while_read(*everything)
        for reader in readers:
            reader.join(60)
        assert last > 10
        assert shared.slots[:, TORN].tolist() == [0, 0]
    finally:
        for reader in readers:
            reader.kill()
            reader.join()
            reader.close()
