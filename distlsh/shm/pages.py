"""Mapping a segment so that the kernel can back it with huge pages, and asking for them.

Rows are read at random over gigabytes.  With pages of 4 KiB each row costs a walk of the page
table, and each process a fault a page when it first touches it: 0.6 s a GiB and process where this
was measured.  ``MADV_COLLAPSE`` (Linux 6.1) makes huge pages whatever ``shmem_enabled`` says, so
that no privilege is needed; where it fails, the segment keeps its small pages.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from distlsh.errors import ResourceError

HUGE_BYTES = 2 << 20
"""Bytes of a huge page: of x86-64, and of ARM64 with base pages of 4 KiB."""

_MADV_COLLAPSE = 25
_MAP_FIXED = 0x10
_PROT_NONE = 0
_FAILED = ctypes.c_void_p(-1).value
_THREADS = 4
_SLICE = 64 * HUGE_BYTES

_libc: Any = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
)  # fmt: skip
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def map_aligned(descriptor: int, n_bytes: int) -> Any:
    """Map a file's first ``n_bytes`` for reading and writing, shared, from a multiple of 2 MiB on.

    Returns a buffer; the mapping goes when nothing refers to it or to arrays over it any more.
    Raises ResourceError where the address space has no room.
    """
    room = n_bytes + HUGE_BYTES
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    base = _mmap(None, room, _PROT_NONE, private, -1)
    # The module mmap cannot place a mapping, and the kernel places those of /dev/shm at any page.
    start = -(-base // HUGE_BYTES) * HUGE_BYTES
    _mmap(start, n_bytes, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | _MAP_FIXED, descriptor)
    buffer = (ctypes.c_uint8 * n_bytes).from_address(start)
    weakref.finalize(buffer, _libc.munmap, base, room).atexit = False
    return buffer


class Reservation:
    """Gives a new file its pages in the background: whoever touches one before may be killed by SIGBUS.

    Every whole 2 MiB becomes a huge page where the kernel can.  The file's end comes first, then
    the rest from its beginning.
    """

    def __init__(self, descriptor: int, buffer: Any) -> None:
        """Start on the file behind ``buffer``, all of it; the descriptor may be closed afterwards."""
        self._descriptor = os.dup(descriptor)
        self._buffer = buffer  # held: the mapping must outlive the threads
        n_bytes = len(buffer)
        starts = list(range(0, n_bytes, _SLICE))
        self._pool = ThreadPoolExecutor(min(_THREADS, len(os.sched_getaffinity(0)), len(starts)))
        self._huge = True
        self._slices = {
            first: self._pool.submit(self._reserve, first, min(_SLICE, n_bytes - first))
            for first in (starts[-1], *starts[:-1])
        }

    def wait(self, first: int, last: int) -> None:
        """Return when the bytes [first, last) have their pages; raise OSError where they cannot have them."""
        for start, slice_ in self._slices.items():
            if start < last and first < start + _SLICE:
                slice_.result()

    def stop(self) -> None:
        """Give up what has not begun; return when nothing is under way."""
        self._pool.shutdown(cancel_futures=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _reserve(self, first: int, n_bytes: int) -> None:
        if self._huge:
            self._huge = collapse(self._buffer, self._descriptor, first, n_bytes)
        os.posix_fallocate(self._descriptor, first, n_bytes)  # of what has pages, nothing is changed


def collapse(buffer: Any, descriptor: int, first: int, n_bytes: int) -> bool:
    """Back every whole 2 MiB of the bytes [first, first + n_bytes) with a huge page; tell whether all are.

    ``first`` is a multiple of 2 MiB.  False where memory is short or the kernel cannot do it.
    """
    n_bytes = n_bytes // HUGE_BYTES * HUGE_BYTES
    for place in range(first, first + n_bytes, HUGE_BYTES):
        os.posix_fallocate(descriptor, place, mmap.PAGESIZE)  # of nothing, nothing is made
    address = ctypes.addressof(buffer) + first
    return not n_bytes or int(_libc.madvise(address, n_bytes, _MADV_COLLAPSE)) == 0


def can_collapse() -> bool:
    """Tell whether this kernel makes huge pages of shared memory on request: tries it on one."""
    descriptor = os.memfd_create("distlsh-huge", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, HUGE_BYTES)
        return collapse(map_aligned(descriptor, HUGE_BYTES), descriptor, 0, HUGE_BYTES)
    except (OSError, ResourceError):
        return False
    finally:
        os.close(descriptor)


def _mmap(address: int | None, n_bytes: int, protection: int, flags: int, descriptor: int) -> int:
    found = _libc.mmap(address, n_bytes, protection, flags, descriptor, 0)
    if found == _FAILED:
        reason = os.strerror(ctypes.get_errno())
        raise ResourceError(
            f"{n_bytes / 2**30:.2f} GiB of shared memory could not be mapped: {reason}; "
            "raise the limit of the address space (ulimit -v) or make the network smaller"
        )
    return int(found)
