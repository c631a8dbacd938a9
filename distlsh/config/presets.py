"""The configurations that ship with distlsh, found from a checkout and from an installed wheel."""

from __future__ import annotations

import difflib
from pathlib import Path

from distlsh.errors import ConfigError

DEFAULT = "quickstart"
_INSTALLED = Path(__file__).parent / "shipped"
_CHECKOUT = Path(__file__).parents[2] / "configs"


def presets() -> dict[str, Path]:
    """Return the shipped configurations by name."""
    folder = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
    return {path.stem: path for path in sorted(folder.glob("*.yaml"), key=lambda path: path.stem)}


def find_config(name: str | Path) -> Path:
    """Return the file that ``name`` means: a path, or the bare name of a shipped configuration.

    A file wins over a shipped configuration of the same name.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    shipped = presets()
    if str(name) in shipped:
        return shipped[str(name)]
    what = "is a folder, not a file" if path.is_dir() else "no such file"
    close = difflib.get_close_matches(path.stem, shipped, n=1)
    guess = f"; did you mean {close[0]}?" if close else "."
    raise ConfigError(f"--config {name}: {what}{guess} Shipped configurations: {', '.join(shipped)}")
