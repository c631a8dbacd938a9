"""Imported once by the fork server, so that every child starts with it: see `processes`."""

from __future__ import annotations

import signal

from distlsh.runtime.prctl import end_with_parent, set_name
from distlsh.runtime.roles import FORK_SERVER

end_with_parent()  # while it imports and compiles, too
set_name(FORK_SERVER)
# Ctrl-C and a closed terminal reach the whole process group; the coordinator decides.
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)

# Loaded when first needed otherwise: compiled once here, not by every child between two heartbeats.
import distlsh.kernels.screening  # noqa: E402
import distlsh.runtime.rehasher  # noqa: E402
import distlsh.runtime.worker  # noqa: E402

__all__ = ["distlsh"]
