"""Starting children from a fork server that has all kernels loaded: the only starter of processes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import multiprocess
import multiprocess.forkserver
import multiprocess.resource_tracker

from distlsh.config.schema import Config
from distlsh.config.shares import layer_shares
from distlsh.constants import TUNED_FAMILIES

_PRELOAD = ["distlsh.runtime.preload"]
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class ForkServer:
    """A process that has imported the children's modules and compiled kernels.

    Starting it returns at once; it imports (and, the first time, compiles) on its own.
    """

    def __init__(self, also: Sequence[str] = ()) -> None:
        """Set what is imported: what every run needs, and the modules ``also`` named."""
        self._context = multiprocess.get_context("forkserver")
        self._context.set_forkserver_preload([*_PRELOAD, *also])

    def start(self) -> None:
        """Start the server, whose BLAS has one thread: a worker is one core."""
        with _hidden_main(), _environment(dict.fromkeys(_ONE_THREAD, "1")):
            multiprocess.forkserver.ensure_running()

    def spawn(self, target: Callable[[bytes], None], packed: bytes, name: str) -> Any:
        """Start a child and return its process object."""
        self.start()  # again, if it died
        process = self._context.Process(target=target, args=(packed,), name=name, daemon=True)
        with _hidden_main():
            process.start()
        return process

    def stop(self) -> None:
        """End the server and its resource tracker; children must be gone."""
        pid = multiprocess.forkserver._forkserver._forkserver_pid
        if pid:  # it may be compiling for a minute: do not wait for it to notice
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        multiprocess.forkserver._forkserver._stop()
        with contextlib.suppress(ChildProcessError, AttributeError):
            multiprocess.resource_tracker._resource_tracker._stop()


def server_of(config: Config) -> ForkServer:
    """Return the fork server of a run: one a process, however often this is called.

    Light to import and quick: a command starts it before it imports what the run itself needs.
    """
    return ForkServer(_modules(config))


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
