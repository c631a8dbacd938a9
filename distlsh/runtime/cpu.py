"""What the processes of a run have used of the cores."""

from __future__ import annotations

from collections.abc import Mapping

import psutil

from distlsh.runtime.roles import REHASHER


def cpu_by_role(pids: Mapping[str, int]) -> dict[str, float]:
    """Return seconds of a core, user's and kernel's, of "workers" together, "rehasher" and "coordinator".

    pids  of the children by role; one that has gone counts nothing

    A child's seconds count from its fork: what the fork server imported is not among them.
    """
    found = {"workers": 0.0, "coordinator": _seconds(psutil.Process())}
    for role, pid in pids.items():
        try:
            used = _seconds(psutil.Process(pid))
        except psutil.NoSuchProcess:
            continue
        name = role if role == REHASHER else "workers"
        found[name] = found.get(name, 0.0) + used
    return {name: round(seconds, 2) for name, seconds in found.items()}


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
