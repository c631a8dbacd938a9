from __future__ import annotations

import threading
import zlib

import numpy as np
import pytest

from distlsh.constants import EMPTY
from distlsh.lsh import HashSpec, Tables, table_specs
from distlsh.lsh.reader import TableReader
from distlsh.shm.generation import publish, writable

SPEC = HashSpec("fast_srp", 5, 8, 1, 16)
N_ROWS, N_READERS, N_GENERATIONS = 800, 2, 150


def fingerprint(tables):
    places = np.arange(tables.bucket_size) < tables.sizes[..., None]
    return zlib.crc32(np.where(places, tables.ids, EMPTY).tobytes())


@pytest.mark.parametrize("policy", ["fifo", "bottom_k"])
def test_readers_see_whole_generations_while_the_next_is_written(policy):
    """Threads that read while rows are moved in the other buffer always see what was published."""
    specs = table_specs(SPEC, N_ROWS, 8, policy=policy)
    arrays = {item.name: np.zeros(item.shape, item.dtype) for item in specs}
    slots = np.full((N_READERS, 8), EMPTY, np.int64)
    expected = np.zeros(N_GENERATIONS + 1, np.int64)
    random = np.random.default_rng(0)
    weights = np.ones(N_ROWS, np.float32)
    codes = random.integers(0, SPEC.n_buckets, (N_ROWS, SPEC.n_tables)).astype(np.int32)
    buffers = [Tables(arrays, buffer, policy) for buffer in (0, 1)]
    buffers[0].insert(np.arange(N_ROWS, dtype=np.int32), codes, weights)
    expected[0] = fingerprint(buffers[0])
    wrong, seen, done = [], [set() for _ in range(N_READERS)], threading.Event()

    def read(number):
        reader = TableReader(arrays, slots, number, SPEC)
        while not done.is_set():
            with reader.tables() as tables:
                generation = int(slots[number, 0])
                seen[number].add(generation)
                if fingerprint(tables) != expected[generation]:
                    wrong.append(generation)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(N_READERS)]
    for thread in threads:
        thread.start()
    try:
        for generation in range(1, N_GENERATIONS + 1):
            while not writable(arrays["tables.generation"], slots):
                pass
            idle, active = buffers[generation % 2], buffers[(generation - 1) % 2]
            idle.copy_from(active)
            some = random.permutation(N_ROWS)[:60].astype(np.int32)
            new = random.integers(0, SPEC.n_buckets, (60, SPEC.n_tables)).astype(np.int32)
            idle.move(some, codes[some], new, weights[some])
            codes[some] = new
            expected[generation] = fingerprint(idle)
            publish(arrays["tables.generation"], generation)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert min(len(generations) for generations in seen) > 1
