"""What Linux keeps of a process: its name."""

from __future__ import annotations

import ctypes

_SET_NAME = 15
_NAME_BYTES = 15


def set_name(name: str) -> None:
    """Name the calling process, as `ps` and ``/proc/PID/comm`` show it; to be called in its main thread."""
    _prctl(_SET_NAME, name.encode()[:_NAME_BYTES])


def _prctl(option: int, argument: bytes) -> None:
    # A kernel that refuses leaves the process as it was, which costs no more than the name.
    ctypes.CDLL(None).prctl(option, ctypes.c_char_p(argument), 0, 0, 0)
