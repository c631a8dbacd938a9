"""A child as its parent sees it, without ever waiting for it or for who forks it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
from collections.abc import Callable

from distlsh.runtime.exhausted import exhaustion

_NUMBER = struct.Struct("q")
_CODE_PATIENCE_S = 0.25
"""The exit code of a dead child is known this long after its death, if nobody is left to tell it."""

_TELLING_S = 2.0
"""The same, where a fork server lives that must be given a core before it can tell."""


class ChildProcess:
    """A process that was asked of the fork server, which may answer at once, late or never.

    ``pid`` is known once `answered`; then the process is watched by a pidfd, whoever its parent is.
    The child holds the read end of a pipe whose write end is here alone: `close` tells it to end.
    """

    def __init__(self, status: int, lease: int, data: bytes, ours: Callable[[int], bool]) -> None:
        """Take both ends' descriptors.

        status  from which the fork server's answers are read: the pid, later the exit code
        lease   to which the child's ``data`` goes; it stays open as long as the child may live
        ours    tells whether a pid may be a child's: by the time of the answer it may be a stranger's
        """
        self.pid: int | None = None
        self.code: int | None = None  # negative: the signal that ended it; None: alive, or nobody knows
        self.unanswered = False  # and never will be: the fork server is gone
        self._status = status
        self._lease = lease
        self._pidfd = -1
        self._ours = ours
        self._unsent = memoryview(data)
        self._dead_since: float | None = None
        os.set_blocking(status, False)
        os.set_blocking(lease, False)
        self._send()

    def fileno(self) -> int:
        """Return the descriptor that can be read when something happens: an answer, or the end."""
        return self._pidfd if self.pid is not None else self._status

    def answered(self) -> bool:
        """Tell whether the process exists; look whether an answer came."""
        self._send()
        if self.pid is None and (pid := self._read()) is not None:
            self.pid = pid
            self._watch(pid)
        self.unanswered = self.pid is None and self._status < 0
        return self.pid is not None

    def ended(self, now: float, *, teller: bool) -> bool:
        """Tell whether the process is dead and ``code`` as well known as it can be at time ``now``.

        teller  there is a fork server that may tell the code yet
        """
        if self._dead_since is None and not self._dead():
            return False
        if self._dead_since is None:
            self._dead_since = now
        if self.code is None:
            self.code = self._collect()
        patience = _TELLING_S if teller and self._status >= 0 else _CODE_PATIENCE_S
        return self.code is not None or now - self._dead_since >= patience

    @property
    def dead(self) -> bool:
        """Tell whether `ended` has seen it dead, with or without its code."""
        return self._dead_since is not None

    def signal(self, number: int) -> None:
        """Send a signal, unless it is gone."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> None:
        """Close all; if the process is there, or appears yet, it ends by itself."""
        for descriptor in (self._status, self._lease, self._pidfd):
            if descriptor >= 0:
                os.close(descriptor)
        self._status = self._lease = self._pidfd = -1

    def _watch(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError), exhaustion(f"process {pid} cannot be watched"):
            self._pidfd = os.pidfd_open(pid)  # it may be gone already
        if self._pidfd >= 0 and not self._ours(pid):
            os.close(self._pidfd)
            self._pidfd = -1

    def _dead(self) -> bool:
        if self._pidfd < 0:
            return True
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(0))

    def _collect(self) -> int | None:
        """Return the exit code: of an orphan that is ours now, or as the fork server tells it."""
        if self._pidfd >= 0:
            with contextlib.suppress(ChildProcessError):
                result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
                if result is not None:
                    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        return self._read()

    def _send(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._lease, self._unsent) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it died, or will never be
            self._unsent = memoryview(b"")

    def _read(self) -> int | None:
        if self._status < 0:
            return None
        try:
            data = os.read(self._status, _NUMBER.size)  # written whole, so read whole
        except BlockingIOError:
            return None
        if len(data) == _NUMBER.size:
            return int(_NUMBER.unpack(data)[0])
        os.close(self._status)
        self._status = -1
        return None
