"""Where benchmarks leave what they measured: a JSON file and a picture each, in benchmarks/results/.

    from results import write
    write("parse_speed", {"rows": [...]}, figure)

Scripts put this folder on the path themselves: ``sys.path.insert(0, str(Path(__file__).parents[1]))``.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent / "results"
_PACKAGES = ("numpy", "numba", "llvmlite", "scipy")


def machine() -> dict[str, Any]:
    """Return what a figure's reader must know of the machine: processor, cores, memory, versions."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: found for name in _PACKAGES if (found := package_version(name))},
    }


def package_version(name: str) -> str | None:
    """Return an installed package's version, None where it is missing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write(name: str, data: dict[str, Any], figure: Figure | None = None) -> Path:
    """Write ``<name>.json`` with date and machine, and ``<name>.svg``; return the JSON's path."""
    FOLDER.mkdir(exist_ok=True)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    whole = {"benchmark": name, "date": today, "machine": machine(), **data}
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(whole, indent=1) + "\n")
    if figure is not None:
        figure.savefig(FOLDER / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
    return path


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
