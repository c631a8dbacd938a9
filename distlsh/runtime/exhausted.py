"""Errors of a system that gives no more descriptors, processes or memory, in words that help."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from distlsh.errors import ResourceError

_FILES = (
    "may have no more open files: raise the limit before the start (ulimit -n, or fs.file-max of the machine)"
)
_PROCESSES = (
    "may start no more processes, or gets no memory for them: raise the limit of processes (ulimit -u, or "
    "pids.max of the control group: docker run --pids-limit, systemd TasksMax), or free some memory"
)
_WORDS = {
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EAGAIN: _PROCESSES,
    errno.ENOMEM: _PROCESSES,
}


@contextmanager
def exhaustion(what: str) -> Iterator[None]:
    """Turn errors of an exhausted system into a ResourceError that begins with ``what`` failed."""
    try:
        yield
    except OSError as error:
        words = _WORDS.get(error.errno or 0)
        if words is None:
            raise
        raise ResourceError(
            f"{what}: this process {words}, or lower run.workers ({error.strerror})"
        ) from error
