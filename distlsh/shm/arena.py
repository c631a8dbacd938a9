"""One shared-memory segment that holds a run's arrays by name.

The segment is a file of /dev/shm, opened by name: nothing registers with
CPython's resource tracker, so a child that exits never takes the weights along.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.errors import ResourceError, UsageError
from distlsh.shm.names import SEGMENT_DIR, hold, segment_path
from distlsh.shm.pages import Reservation, map_aligned
from distlsh.shm.spec import ArraySpec


class Arena(Mapping[str, "NDArray[Any]"]):
    """Named arrays in one segment, each from the start of a cache line.

    `create` makes the segment (mode 0600, zeroed, all its pages reserved, huge ones where the
    kernel can) and owns it; `attach` maps one that exists.  Only the creator calls `unlink`.
    """

    def __init__(
        self, name: str, specs: Iterable[ArraySpec], buffer: Any, reservation: Reservation | None = None
    ) -> None:
        self.name = name
        self.specs = tuple(specs)
        self._reservation = reservation
        self._arrays: dict[str, NDArray[Any]] = {}
        offset = 0
        for spec in self.specs:
            self._arrays[spec.name] = np.ndarray(spec.shape, spec.dtype, buffer, offset)
            offset += spec.padded_bytes

    @classmethod
    def create(cls, name: str, specs: Iterable[ArraySpec], *, wait: bool = True) -> Arena:
        """Create the segment ``name`` for ``specs``.

        wait  until all pages are there; else none may be touched, by anyone, before `reserved` returned

        Raises ResourceError where /dev/shm has no room, UsageError for a name twice.
        """
        specs = tuple(specs)
        _check_unique(specs)
        path = segment_path(name)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            hold(descriptor)
            buffer = _sized(descriptor, arena_bytes(specs))
            arena = cls(name, specs, buffer, Reservation(descriptor, buffer))
            if wait:
                arena.reserved()
            return arena
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    @classmethod
    def attach(cls, name: str, specs: Iterable[ArraySpec]) -> Arena:
        """Map the existing segment ``name``; ``specs`` must be its creator's.

        FileNotFoundError where there is none of this user; UsageError if it has another size.
        """
        specs = tuple(specs)
        descriptor = _open_own(segment_path(name))
        try:
            if os.fstat(descriptor).st_size != arena_bytes(specs):
                raise UsageError(f"segment {name} does not have the size its arrays need")
            return cls(name, specs, map_aligned(descriptor, arena_bytes(specs)))
        finally:
            os.close(descriptor)

    def __getitem__(self, key: str) -> NDArray[Any]:
        return self._arrays[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def path(self) -> Path:
        """The segment's file."""
        return SEGMENT_DIR / self.name

    @property
    def n_bytes(self) -> int:
        """Size of the segment in bytes."""
        return arena_bytes(self.specs)

    def persistent(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a checkpoint holds."""
        return {spec.name: self._arrays[spec.name] for spec in self.specs if spec.persistent}

    def reserved(self, wanted: Callable[[str], bool] | None = None) -> None:
        """Return when the arrays whose names are ``wanted`` have their pages; all by default.

        Raises ResourceError where /dev/shm has no room for them.
        """
        if self._reservation is None:
            return
        first = 0
        for spec in self.specs:
            if wanted is None or wanted(spec.name):
                with _no_room(self.n_bytes):
                    self._reservation.wait(first, first + spec.padded_bytes)
            first += spec.padded_bytes
        if wanted is None:
            self._reservation.stop()
            self._reservation = None

    def close(self) -> None:
        """Let go of the segment; it is unmapped here when nobody holds one of its arrays any more."""
        if self._reservation is not None:
            self._reservation.stop()
            self._reservation = None
        self._arrays.clear()

    def unlink(self) -> None:
        """Remove the segment's name; its memory goes when the last process unmaps it."""
        self.path.unlink(missing_ok=True)


def arena_bytes(specs: Iterable[ArraySpec]) -> int:
    """Return the bytes of a segment for ``specs``, padding included."""
    return max(sum(spec.padded_bytes for spec in specs), mmap.PAGESIZE)


def _open_own(path: Path) -> int:
    """Open a segment that this user made; one that another user put in its place is none."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.ELOOP):
            raise FileNotFoundError(errno.ENOENT, "another user's", str(path)) from None
        raise
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "another user's", str(path))
    return descriptor


def _check_unique(specs: tuple[ArraySpec, ...]) -> None:
    names = [spec.name for spec in specs]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(f"array names given twice: {', '.join(sorted(twice))}")


def _sized(descriptor: int, n_bytes: int) -> Any:
    """Give the file its size; return it mapped."""
    with _no_room(n_bytes):
        os.ftruncate(descriptor, n_bytes)
        found = os.fstatvfs(descriptor)
        # Beforehand: filling memory to find that it is too small would hurt others.
        if found.f_blocks and n_bytes > found.f_bavail * found.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return map_aligned(descriptor, n_bytes)


@contextlib.contextmanager
def _no_room(n_bytes: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EFBIG):
            raise
        raise ResourceError(
            f"{SEGMENT_DIR} has no room for {n_bytes / 2**30:.2f} GiB; lower model.hidden or lsh.n_tables, "
            f"or enlarge it (mount -o remount,size=... {SEGMENT_DIR})"
        ) from error
