"""Imported once by the fork server, so that every child starts with it: see `processes`."""

from __future__ import annotations

import signal

from distlsh.runtime.prctl import set_name

set_name("forkserver")
# Ctrl-C reaches the whole process group, also while kernels compile; the coordinator decides.
signal.signal(signal.SIGINT, signal.SIG_IGN)

# Loaded when first needed otherwise: compiled once here, not by every child between two heartbeats.
import distlsh.kernels.screening  # noqa: E402
import distlsh.runtime.rehasher  # noqa: E402
import distlsh.runtime.worker  # noqa: E402

__all__ = ["distlsh"]
