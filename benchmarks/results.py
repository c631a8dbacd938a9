"""Where benchmarks leave what they measured: a JSON file and a picture each, in benchmarks/results/.

    from results import write
    write("parse_speed", {"rows": [...]}, figure)

Scripts put this folder on the path themselves: ``sys.path.insert(0, str(Path(__file__).parents[1]))``.
"""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from distlsh.cli.host import describe_host

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent / "results"


def write(name: str, data: dict[str, Any], figure: Figure | None = None) -> Path:
    """Write ``<name>.json`` with date and machine, and ``<name>.svg``; return the JSON's path."""
    FOLDER.mkdir(exist_ok=True)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    whole = {"benchmark": name, "date": today, "machine": describe_host(), **data}
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(whole, indent=1) + "\n")
    if figure is not None:
        figure.savefig(FOLDER / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
    return path
