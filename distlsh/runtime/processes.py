"""Starting children from a fork server that has all kernels loaded: the only starter of processes.

The server is multiprocess's, and so is what it is told; but nothing here waits for it.  It may be
importing, compiling, stopped or dead: children that are there go on, and others come when it answers.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import multiprocess
import multiprocess.context
import multiprocess.forkserver
import multiprocess.spawn
import multiprocess.util

from distlsh.config.schema import Config
from distlsh.config.shares import layer_shares
from distlsh.constants import TUNED_FAMILIES
from distlsh.runtime.child_process import ChildProcess
from distlsh.runtime.exhausted import exhaustion
from distlsh.runtime.prctl import PARENT, adopt_orphans
from distlsh.runtime.procfs import children_named, may_be_of, stands_still
from distlsh.runtime.roles import FORK_SERVER
from distlsh.shm.names import make_socket_dir, new_run_id, remove

_PRELOAD = ["distlsh.runtime.preload"]
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

_context = multiprocess.get_context("forkserver")
_servers: set[int] = set()
"""Pids of all fork servers of this process: those of other runs in it are no strays."""


class ForkServer:
    """A process that has imported the children's modules and compiled kernels.

    Starting it returns at once; it imports (and, the first time, compiles) on its own.  Its folder
    (0700) takes the run's sockets too; both carry ``run_id``.
    """

    def __init__(self, also: Sequence[str] = ()) -> None:
        """Set what is imported: what every run needs, and the modules ``also`` named."""
        self.run_id = new_run_id()
        self.pid: int | None = None
        self._preload = [*_PRELOAD, *also]
        self._folder: Path | None = None
        self._alive = self._pidfd = -1
        self._starts = 0
        self._adopted_before = False
        self._unreaped: set[int] = set()

    @property
    def folder(self) -> Path:
        """The folder of its socket, and of the run's; made when first asked for."""
        if self._folder is None:
            self._folder = make_socket_dir(self.run_id)
        return self._folder

    def fileno(self) -> int:
        """Return a descriptor that can be read when the server ends; of each server its own."""
        return self._pidfd

    def start(self) -> None:
        """Start the server if there is none.  Its BLAS has one thread: a worker is one core.

        Raises ResourceError where the system has no descriptor or process left for it.
        """
        if self.pid is not None:
            return
        with exhaustion("the fork server cannot be started"):
            self._start()

    def _start(self) -> None:
        if not self._starts:
            self._adopted_before = adopt_orphans(True)  # so that exit codes are known without a server
        self._starts += 1
        values = {**dict.fromkeys(_ONE_THREAD, "1"), PARENT: str(os.getpid())}
        with socket.socket(socket.AF_UNIX) as listener, _environment(values):
            listener.bind(self._address)
            os.chmod(self._address, 0o600)
            listener.listen()
            alive, self._alive = os.pipe()
            try:
                self.pid = self._launch(listener.fileno(), alive)
            except BaseException:
                os.close(self._alive)
                self._alive = -1
                raise
            finally:
                os.close(alive)
        _servers.add(self.pid)
        self._pidfd = os.pidfd_open(self.pid)

    def ask(self, target: Callable[[bytes], None], packed: bytes, name: str) -> ChildProcess:
        """Ask for a child that runs ``target(packed)``; return at once.

        Raises ResourceError where this process has no descriptors left for it.
        """
        self.start()
        process = _context.Process(target=target, args=(packed,), name=name, daemon=True)
        data = _pickled(process, name)
        with exhaustion(f"{name} cannot be started"), contextlib.ExitStack() as ours:
            with contextlib.ExitStack() as theirs:
                status, their_status = _pipe(ours, theirs)
                their_data, lease = _pipe(theirs, ours)
                self._send([their_data, their_status])
            ours.pop_all()
        return ChildProcess(status, lease, data, self._may_be_ours)

    def ended(self) -> int | None:
        """Return the exit code of a server that is no more; None if there is one, or was none."""
        if self.pid is None:
            return None
        try:
            result = os.waitid(*self._which(), os.WEXITED | os.WNOHANG)
        except ChildProcessError:  # whoever embeds this process has waited for all its children
            self._forget()
            return 0
        if result is None:
            return None
        self._forget()
        return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status

    @property
    def stopped(self) -> bool:
        """Whether there is a server, and it was stopped by a signal."""
        return self.pid is not None and stands_still(self.pid)

    def kill(self) -> None:
        """End the server; its children live on."""
        self._signal(signal.SIGKILL)

    def resume(self) -> None:
        """Let a server that was stopped by a signal go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.pid is None:
            return
        with contextlib.suppress(ProcessLookupError):  # whoever embeds this process may have waited for it
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, number)
            else:
                os.kill(self.pid, number)

    def part_with(self, child: ChildProcess) -> None:
        """Close a child that is dead, or no longer wanted."""
        if child.pid is not None and child.code is None:
            self._unreaped.add(child.pid)  # a stopped server has it; it becomes ours with the server's end
        child.close()

    def end_strays(self, known: set[int], names: Sequence[str]) -> None:
        """End and reap children of a server that is no more, but those in ``known``.

        It may have forked one that it could not tell of any more.
        """
        found = {*children_named([FORK_SERVER, *names]), *self._unreaped} - known - _servers
        for pid in filter(self._may_be_ours, found):
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # a child of ours still
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        self._unreaped.clear()

    def stop(self, names: Sequence[str] = ()) -> None:
        """End the server and what is left of its children, of these names; remove the folder."""
        if self.pid is not None:  # it may be compiling for a minute: do not wait for it to notice
            self.kill()
            with contextlib.suppress(ChildProcessError):
                os.waitid(*self._which(), os.WEXITED)
            self._forget()
        if self._starts:
            self.end_strays(set(), names)
            adopt_orphans(self._adopted_before)
            self._starts = 0
        if self._folder is not None:
            remove(self._folder)

    def _may_be_ours(self, pid: int) -> bool:
        return may_be_of(self.run_id, pid)

    @property
    def _address(self) -> str:
        return str(self.folder / f"fork-{self._starts}")

    def _launch(self, listener: int, alive: int) -> int:
        call = f"main({listener}, {alive}, {self._preload!r})"
        code = (
            f"import sys; sys.path[:] = {_search_path()!r}; from multiprocess.forkserver import main; {call}"
        )
        executable = multiprocess.spawn.get_executable()
        args = [
            executable,
            *multiprocess.util._args_from_interpreter_flags(),
            "-c",
            f"{code}  # {self.run_id}",
        ]
        return int(multiprocess.util.spawnv_passfds(executable, args, (listener, alive)))

    def _send(self, descriptors: list[int]) -> None:
        # The server takes four descriptors.  The last two would keep it alive, and a resource tracker.
        nothing = os.open(os.devnull, os.O_WRONLY)
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.setblocking(False)
                with contextlib.suppress(OSError):  # no server listens: the child's status ends, unanswered
                    client.connect(self._address)
                    multiprocess.context.reduction.sendfds(client, [*descriptors, nothing, nothing])
        finally:
            os.close(nothing)

    def _which(self) -> tuple[int, int]:
        """Return what `os.waitid` takes: its pid may be another's, once somebody has waited for it."""
        assert self.pid is not None
        return (os.P_PIDFD, self._pidfd) if self._pidfd >= 0 else (os.P_PID, self.pid)

    def _forget(self) -> None:
        assert self.pid is not None
        _servers.discard(self.pid)
        for descriptor in (self._alive, self._pidfd):
            if descriptor >= 0:  # whatever came between a start and its end
                os.close(descriptor)
        self.pid, self._alive, self._pidfd = None, -1, -1


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    """Return a pipe's ends, each closed by its stack."""
    ends = os.pipe()
    reader.callback(os.close, ends[0])
    writer.callback(os.close, ends[1])
    return ends


def lease() -> int | None:
    """Return, in a child, the descriptor whose other end closes when the child is no longer wanted."""
    parent = multiprocess.process.parent_process()
    return None if parent is None else int(parent.sentinel)


_early: ForkServer | None = None


def start_early(config: Config) -> None:
    """Start the fork server that `server_of` returns next.

    Light to import and quick: a command calls it before it imports what the run itself needs.
    """
    global _early
    _early = ForkServer(_modules(config))
    _early.start()


def server_of(config: Config) -> ForkServer:
    """Return a fork server for a run: the one that was started early, or a new one."""
    global _early
    server, _early = _early, None
    return server or ForkServer(_modules(config))


def stop_early() -> None:
    """End a fork server that was started early and never used."""
    global _early
    server, _early = _early, None
    if server is not None:
        server.stop()


def _modules(config: Config) -> list[str]:
    """Return the modules, and so the kernels, that this run's children need beside those of every run."""
    hashed: set[str] = {config.lsh.family}
    found = []
    if min(layer_shares(config.model)) < 1:
        hashed.add(config.lsh.hidden.family)
        found += ["distlsh.model.layers.build", "distlsh.model.pairs_output"]
    if config.model.storage == "bfloat16":
        found.append("distlsh.model.bfloat16_kernels")
    if config.lsh.auto is not None:
        hashed |= set(TUNED_FAMILIES)
        found.append("distlsh.runtime.tuner")
    return [*found, *(f"distlsh.lsh.families.{family}" for family in sorted(hashed))]


def _search_path() -> list[str]:
    # Where this process finds its modules, also if it looks into its folder and that has changed.
    here = multiprocess.process.ORIGINAL_DIR
    return [part or str(here) for part in sys.path]


def _pickled(process: Any, name: str) -> bytes:
    buffer = io.BytesIO()
    multiprocess.context.set_spawning_popen(process)  # who asks for its keys is a child of ours
    try:
        with _hidden_main():
            multiprocess.context.reduction.dump(multiprocess.spawn.get_preparation_data(name), buffer)
            multiprocess.context.reduction.dump(process, buffer)
    finally:
        multiprocess.context.set_spawning_popen(None)
    return buffer.getvalue()


@contextlib.contextmanager
def _hidden_main() -> Iterator[None]:
    """Keep children from importing the caller's main script: it may train at top level."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
