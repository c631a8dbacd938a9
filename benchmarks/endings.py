"""The end of a training that nobody wants any more."""

from __future__ import annotations

import subprocess
import time

_BETWEEN_S = 0.4
"""More than the time in which a run takes signals for one."""

_END_S = 20.0


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a run at once, by two signals, so that it leaves nothing; kill it where it does not hear them."""
    for _ in range(2):
        if process.poll() is None:
            process.terminate()
            time.sleep(_BETWEEN_S)
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
