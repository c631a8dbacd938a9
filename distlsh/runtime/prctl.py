"""What Linux keeps of a process: its name, who takes over its orphans, what ends it with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

PARENT = "DISTLSH_PARENT"
"""Environment variable with the pid of a process's parent."""

_LIBC = ctypes.CDLL(None)  # loaded here: a process just forked must not wait for a loader's lock
_SET_PDEATHSIG = 1
_SET_NAME = 15
_NAME_BYTES = 15
_SET_CHILD_SUBREAPER = 36
_GET_CHILD_SUBREAPER = 37


def set_name(name: str) -> None:
    """Name the calling process, as `ps` and ``/proc/PID/comm`` show it; to be called in its main thread."""
    _prctl(_SET_NAME, ctypes.c_char_p(name.encode()[:_NAME_BYTES]))


def end_with_parent() -> None:
    """Have the calling process killed when the thread that started it ends, whatever it is doing then.

    The environment names the parent: it may be gone already.
    """
    _prctl(_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if str(os.getppid()) != os.environ.get(PARENT):
        os.kill(os.getpid(), signal.SIGKILL)


def ending_with_caller() -> Callable[[], None]:
    """Return what a `subprocess.Popen` runs first (``preexec_fn``) to be killed when the calling thread ends.

    The kernel goes by the thread that starts the process, not by its process: call both in the same thread,
    one that lasts as long as the process is wanted, such as the main one.  The process hears SIGINT and
    SIGHUP even where this one ignores them, as a shell's background jobs and those of ``nohup`` do.
    """
    caller = os.getpid()

    def prepare() -> None:
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        _prctl(_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
        if os.getppid() != caller:
            os.kill(os.getpid(), signal.SIGKILL)

    return prepare


def adopt_orphans(on: bool) -> bool:
    """Have orphaned descendants become children of the calling process, or not; return what was before."""
    before = ctypes.c_int()
    _prctl(_GET_CHILD_SUBREAPER, ctypes.byref(before))
    _prctl(_SET_CHILD_SUBREAPER, ctypes.c_ulong(on))
    return bool(before.value)


def _prctl(option: int, argument: object) -> None:
    # A kernel that refuses leaves the process as it was: nothing here is needed for a run to be right.
    _LIBC.prctl(option, argument, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
