"""Mappings that huge pages can back."""

from __future__ import annotations

import ctypes
import gc
import os

import numpy as np
import pytest

from distlsh.shm import pages
from distlsh.shm.names import SEGMENT_DIR, new_run_id
from distlsh.shm.pages import HUGE_BYTES, collapse, map_aligned


@pytest.fixture
def segment():
    path = SEGMENT_DIR / new_run_id()
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    os.ftruncate(descriptor, 3 * HUGE_BYTES + 4096)
    yield descriptor
    os.close(descriptor)
    path.unlink()


def mapped(address):
    with open("/proc/self/maps") as file:
        ranges = [line.split()[0].split("-") for line in file if "/dev/shm/distlsh" in line]
    return any(int(first, 16) <= address < int(last, 16) for first, last in ranges)


def test_mappings_start_at_a_huge_page_and_share_the_file(segment):
    """Two mappings of one file are aligned to 2 MiB and show each other's writes."""
    n = 3 * HUGE_BYTES + 4096
    one, other = map_aligned(segment, n), map_aligned(segment, n)
    assert ctypes.addressof(one) % HUGE_BYTES == 0 == ctypes.addressof(other) % HUGE_BYTES
    np.frombuffer(one, np.uint8)[n - 1] = 7
    assert np.frombuffer(other, np.uint8)[n - 1] == 7


def test_a_mapping_lives_as_long_as_an_array_over_it(segment):
    """Letting go of the buffer unmaps it only when the last array is gone."""
    buffer = map_aligned(segment, HUGE_BYTES)
    address = ctypes.addressof(buffer)
    array = np.frombuffer(buffer, np.uint8)[5:9]
    del buffer
    gc.collect()
    assert mapped(address) and not array.any()
    del array
    gc.collect()
    assert not mapped(address)


def test_collapsed_pages_are_zero_and_whole_huge_pages(segment):
    """What was collapsed is a number of huge pages and still reads as zeros, the tail left out."""
    n = 3 * HUGE_BYTES + 4096
    buffer = map_aligned(segment, n)
    done = collapse(buffer, segment)
    assert done in (0, 3 * HUGE_BYTES)  # 0: a kernel before 6.1
    assert not np.frombuffer(buffer, np.uint8).any()


def test_a_kernel_that_cannot_collapse_is_no_error(segment, monkeypatch):
    """Where the kernel refuses, nothing is collapsed and the bytes stay as they were."""
    monkeypatch.setattr(pages, "_MADV_COLLAPSE", 9999)
    buffer = map_aligned(segment, 3 * HUGE_BYTES)
    assert collapse(buffer, segment) == 0
    assert not np.frombuffer(buffer, np.uint8).any()
