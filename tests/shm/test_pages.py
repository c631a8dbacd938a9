"""Mappings that huge pages can back."""

from __future__ import annotations

import ctypes
import gc
import os

import numpy as np
import pytest

from distlsh.shm import pages
from distlsh.shm.names import SEGMENT_DIR, new_run_id
from distlsh.shm.pages import HUGE_BYTES, Reservation, collapse, map_aligned


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


def test_collapsed_pages_are_zero_and_writable(segment):
    """What was collapsed still reads as zeros, in whole and in its tail, and keeps what is written."""
    n = 3 * HUGE_BYTES + 4096
    buffer = map_aligned(segment, n)
    collapse(buffer, segment, 0, n)  # False on a kernel before 6.1
    array = np.frombuffer(buffer, np.uint8)
    assert not array.any()
    array[:] = 3
    assert np.frombuffer(map_aligned(segment, n), np.uint8).min() == 3


@pytest.mark.parametrize("advice", [25, 9999])
def test_a_reservation_gives_every_byte_its_page(segment, monkeypatch, advice):
    """All blocks of the file are there after waiting, also where the kernel makes no huge pages."""
    monkeypatch.setattr(pages, "_MADV_COLLAPSE", advice)
    n = 3 * HUGE_BYTES + 4096
    reservation = Reservation(segment, map_aligned(segment, n))
    reservation.wait(0, n)
    assert os.fstat(segment).st_blocks * 512 >= n
    reservation.stop()


def test_a_reservation_can_be_given_up(segment):
    """After stop nothing is under way any more, and stopping again is no error."""
    reservation = Reservation(segment, map_aligned(segment, HUGE_BYTES))
    reservation.stop()
    reservation.stop()


def test_what_failed_to_be_reserved_is_raised(segment, monkeypatch):
    """An error of the file system reaches whoever waits for the bytes."""
    monkeypatch.setattr(pages.os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    reservation = Reservation(segment, map_aligned(segment, HUGE_BYTES))
    with pytest.raises(OSError, match="full"):
        reservation.wait(0, 1)
    reservation.stop()
