from __future__ import annotations

import mmap
import multiprocessing
import threading

import numpy as np
import pytest
from numba import njit

from distlsh.constants import EMPTY
from distlsh.kernels._jit import device_function
from distlsh.shm.generation import (
    GENERATION_WIDTH,
    NONE_IN_USE,
    acquire,
    current_generation,
    oldest_in_use,
    publish,
    release,
    writable,
)

N_CELLS = 64


class Shared:
    """A generation, reader slots and two buffers in one block of memory."""

    def __init__(self, n_readers, memory=None):
        size = GENERATION_WIDTH + 8 * n_readers + 2 * N_CELLS
        flat = np.zeros(size, np.int64) if memory is None else np.ndarray(size, np.int64, memory)
        self.generation = flat[:GENERATION_WIDTH]
        self.slots = flat[GENERATION_WIDTH : GENERATION_WIDTH + 8 * n_readers].reshape(n_readers, 8)
        self.buffers = flat[-2 * N_CELLS :].reshape(2, N_CELLS)

    def reset(self):
        self.slots[:] = EMPTY


def test_acquire_shows_the_generation_and_release_hides_it():
    """A slot shows what its worker reads, the oldest counts, and free slots do not."""
    shared = Shared(3)
    shared.reset()
    assert oldest_in_use(shared.slots) == NONE_IN_USE
    publish(shared.generation, 4)
    assert acquire(shared.generation, shared.slots, 1) == 4
    publish(shared.generation, 5)
    assert acquire(shared.generation, shared.slots, 2) == 5
    assert shared.slots[:, 0].tolist() == [EMPTY, 4, 5]
    assert current_generation(shared.generation) == 5
    assert oldest_in_use(shared.slots) == 4
    release(shared.slots, 1)
    assert oldest_in_use(shared.slots) == 5


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
def read_until(generation, slots, buffers, worker, last):
    """Take generations until ``last`` is seen; return (reads, reads that met another's writing)."""
    reads, torn, seen = 0, 0, 0
    while seen < last:
        seen = acquire(generation, slots, worker)
        torn += not _holds_only(buffers[seen % 2], seen)
        reads += 1
        release(slots, worker)
    return reads, torn


@njit(nogil=True)
def write_until(generation, slots, buffers, last):
    """Fill and publish generations 1 to ``last``, each in the buffer that has no reader left."""
    for new in range(1, last + 1):
        while not writable(generation, slots):
            pass
        for i in range(buffers.shape[1]):
            buffers[new % 2, i] = new
        publish(generation, new)


def test_threads_never_read_a_buffer_that_is_being_written():
    """A reader and a writer at full speed: the reader never meets a half-filled buffer."""
    shared, last = Shared(1), 20_000
    shared.reset()
    results = []

    def read():
        results.append(read_until(shared.generation, shared.slots, shared.buffers, 0, last))

    write_until(shared.generation, shared.slots, shared.buffers, 0)
    reader = threading.Thread(target=read)
    reader.start()
    write_until(shared.generation, shared.slots, shared.buffers, last)
    reader.join()
    reads, torn = results[0]
    assert reads > 0
    assert torn == 0


def _read_in_a_process(memory, worker, last):
    shared = Shared(2, memory)
    shared.slots[worker, 1:3] = read_until(shared.generation, shared.slots, shared.buffers, worker, last)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_never_read_a_buffer_that_is_being_written():
    """Two reading processes and a writing one over shared memory: the same."""
    memory = mmap.mmap(-1, 8 * (GENERATION_WIDTH + 16 + 2 * N_CELLS))
    shared, last = Shared(2, memory), 2_000
    shared.reset()
    write_until(shared.generation, shared.slots, shared.buffers, 0)
    context = multiprocessing.get_context("fork")
    readers = [context.Process(target=_read_in_a_process, args=(memory, worker, last)) for worker in range(2)]
    try:
        for reader in readers:
            reader.start()
        write_until(shared.generation, shared.slots, shared.buffers, last)
        for reader in readers:
            reader.join(60)
        assert np.all(shared.slots[:, 1] > 0)
        assert shared.slots[:, 2].tolist() == [0, 0]
    finally:
        for reader in readers:
            reader.kill()
            reader.join()
            reader.close()
