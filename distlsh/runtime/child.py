"""A child's frame: its log, its watch on the coordinator, and how its errors travel."""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from distlsh.constants import NO_MEMORY_CODE
from distlsh.folders import careful_umask
from distlsh.protocol.messages import (
    Done,
    Failed,
    FromChild,
    HandBack,
    Heartbeat,
    Hello,
    Metric,
    NonFinite,
    Stop,
    ToChild,
)
from distlsh.runtime.prctl import set_name
from distlsh.runtime.processes import lease
from distlsh.runtime.procfs import processes_of
from distlsh.runtime.rotation import rotate
from distlsh.runtime.setup import ChildSetup
from distlsh.shm.arena import Arena
from distlsh.shm.names import remove, segments_of
from distlsh.transport.context import new_context
from distlsh.transport.control import ControlClient
from distlsh.transport.metrics import MetricsClient

_MAX_TRACEBACK = 100_000
"""Characters of a traceback that are sent, its last: messages have a largest size."""

_CLOSING_MS = 200
"""Milliseconds in which a dying coordinator's own end is seen, after its files are closed."""


_LOOK_S = 0.05
"""Seconds between two looks for messages in the middle of a task."""


class Stopped(BaseException):
    """Told to stop in the middle of a task, nothing of which will be asked for any more."""


class Link:
    """A child's sockets, and its heartbeat: call `beat` more often than ``run.heartbeat_s``."""

    def __init__(self, setup: ChildSetup) -> None:
        self.role = setup.role
        self._pid = os.getpid()
        self._interval = setup.config.run.heartbeat_s
        self._last = 0.0
        self._context = new_context()
        keys = setup.way.client_keys()
        self._control = ControlClient(self._context, setup.way.control, setup.role, keys)
        self._metrics = MetricsClient(self._context, setup.way.metrics, keys)
        self._looked = 0.0
        self._waiting: deque[ToChild] = deque()
        self.hand_back = False

    def hello(self) -> None:
        """Tell the coordinator that this child is ready."""
        self._send(Hello(role=self.role, pid=self._pid))

    def receive(self) -> ToChild | None:
        """Return the next message, or None after one heartbeat interval."""
        self._beat(time.monotonic())
        self.hand_back = False
        return self._waiting.popleft() if self._waiting else self._control.receive(self._interval)

    def beat(self) -> None:
        """Send a heartbeat if one is due, and look for what cannot wait for the end of a task.

        Sets ``hand_back`` where the task shall end early.  Raises Stopped where this process shall.
        """
        now = time.monotonic()
        self._beat(now)
        if now - self._looked >= _LOOK_S:
            self._looked = now
            self._look()

    def done(self, task_id: int, result: bytes = b"", upto: int | None = None) -> None:
        """Acknowledge a task, or its part before ``upto``."""
        self._send(Done(role=self.role, pid=self._pid, task_id=task_id, result=result, upto=upto))

    def non_finite(self, task_id: int, instance: int, layer: str, what: str) -> None:
        """Tell of a sample that was left out of a task, since a number is not finite."""
        self._send(NonFinite(self.role, self._pid, task_id, instance, layer, what))

    def failed(self, text: str) -> None:
        """Report an error that a restart would meet again."""
        self._send(Failed(role=self.role, pid=self._pid, traceback=text[-_MAX_TRACEBACK:]))

    def answer(self, message: FromChild) -> None:
        """Send any other answer."""
        self._send(message)

    def metric(self, metric: Metric) -> None:
        """Send a metric; never waits."""
        self._metrics.send(metric)

    def close(self) -> None:
        """Send what is left for at most a second, and close."""
        self._metrics.close()
        self._control.close()
        self._context.term()

    def _beat(self, now: float) -> None:
        if now - self._last >= self._interval:
            self._send(Heartbeat(role=self.role, pid=self._pid))

    def _look(self) -> None:
        while (message := self._control.receive(0.0)) is not None:
            match message:
                case Stop():
                    raise Stopped
                case HandBack():
                    self.hand_back = True
                case _:
                    self._waiting.append(message)

    def _send(self, message: FromChild) -> None:
        self._last = time.monotonic()
        self._control.send(message)


def run_child(packed: bytes, body: Callable[[ChildSetup, Arena, Link], None]) -> None:
    """Run ``body`` as the child that ``packed`` describes; report what it raises."""
    for number in (signal.SIGINT, signal.SIGHUP):  # they reach the whole group; the coordinator decides
        signal.signal(number, signal.SIG_IGN)
    setup = msgspec.msgpack.decode(packed, type=ChildSetup)
    set_name(setup.role)
    careful_umask()
    _log.begin(Path(setup.log), setup.config.run.log_bytes)
    link = Link(setup)
    code = 0
    try:
        if setup.cpus:
            os.sched_setaffinity(0, setup.cpus)
        _die_with(setup)
        body(setup, Arena.attach(setup.arena, setup.array_specs()), link)
    except Stopped:
        log("stopped in the middle of a task")
    except MemoryError:  # a death like others: what took the memory may be gone when it is started again
        code = NO_MEMORY_CODE
        _print_error()
    except BaseException:
        code = 1
        link.failed(traceback.format_exc())  # first: the log may be on a full disk
        _print_error()
    link.close()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    # The interpreter's own exit would wait for threads and run the fork server's handlers.
    os._exit(code)


def log(text: str) -> None:
    """Write a line with date and time to the child's log; no work ends because its disk is full."""
    with suppress(OSError):
        _log.rotate_if_large()
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


def _print_error() -> None:
    with suppress(OSError):
        traceback.print_exc()


class _Log:
    """Descriptors 1 and 2 of this process, as a file of bounded size."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._most_bytes = 0

    def begin(self, path: Path, most_bytes: int) -> None:
        """Send all output of this process to ``path``, faults of the interpreter too.

        Where it cannot be opened, output goes where the coordinator's does: no work ends for want of a log.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open(path)
        except OSError as error:
            with suppress(OSError):
                print(f"{path}: cannot be opened ({error.strerror}); its lines come here", file=sys.stderr)
            return
        self._path, self._most_bytes = path, most_bytes
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        faulthandler.enable(sys.stderr)  # by number: it writes to whatever 2 is then

    def rotate_if_large(self) -> None:
        """Begin a new file if this one is full; a disk that refuses leaves it as it is."""
        if self._path is None or os.fstat(1).st_size < self._most_bytes:
            return
        with suppress(OSError):
            rotate(self._path)
            self._open(self._path)

    def _open(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)


_log = _Log()


def _die_with(setup: ChildSetup) -> None:
    """End this process when it is not wanted; when the coordinator is gone, also remove what the run left."""
    try:
        coordinator = os.pidfd_open(setup.coordinator_pid)
    except ProcessLookupError:
        _leave(setup)
    wanted = lease()

    def watch() -> None:
        poller = select.poll()
        poller.register(coordinator, select.POLLIN)
        if wanted is not None:
            poller.register(wanted, 0)  # its other end closes: POLLHUP
        if coordinator not in dict(poller.poll()):
            poller.unregister(wanted)  # type: ignore[arg-type]
            if not poller.poll(_CLOSING_MS):
                log("no longer wanted: exiting")
                os._exit(1)
        _leave(setup)

    threading.Thread(target=watch, name="watch-coordinator", daemon=True).start()


def _leave(setup: ChildSetup) -> None:
    # A coordinator that was killed cannot unlink its segment; its children can.
    for segment in segments_of(setup.arena):
        remove(segment)
    remove(Path(setup.socket_dir))
    for pid in processes_of(setup.arena):  # one of them may be stopped, and see nothing
        if pid != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    log("the coordinator is gone: exiting")
    os._exit(1)
