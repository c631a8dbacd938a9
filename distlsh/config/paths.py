"""Paths in a configuration: ``~``, ``${VARIABLE}``, and what they are relative to."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from distlsh.config.explain import Places, at
from distlsh.config.yamlio import KeyPath, Tree
from distlsh.errors import ConfigError

INPUT_FILES: tuple[KeyPath, ...] = (("data", "train"), ("data", "test"))
_PATHS: tuple[KeyPath, ...] = (*INPUT_FILES, ("data", "cache_dir"), ("run", "dir"), ("run", "keys"))
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


def resolve(tree: Tree, folder: Path | None) -> Tree:
    """Expand all paths of ``tree``; make those of files that exist absolute.

    A relative input file is looked for in the current folder, then in ``folder``, that of
    the YAML file.  Raises ConfigError where a variable is not set.
    """
    value = tree.value
    for path in _PATHS:
        value = _replace(value, path, lambda text, path=path: _one(text, path, tree.places, folder))
    return Tree(value, tree.places)


def _one(text: str, path: KeyPath, places: Places, folder: Path | None) -> str:
    expanded = os.path.expanduser(_VARIABLE.sub(lambda match: _variable(match, path, places), text))
    if path not in INPUT_FILES or os.path.isabs(expanded):
        return expanded
    for base in (Path.cwd(), folder):
        if base is not None and (base / expanded).exists():
            return str((base / expanded).resolve())
    return expanded


def _variable(match: re.Match[str], path: KeyPath, places: Places) -> str:
    name = match.group(1)
    try:
        return os.environ[name]
    except KeyError:
        raise ConfigError(
            f"{at(path, places)}the environment variable {name} is not set; set it, or write the path out"
        ) from None


def _replace(value: Any, path: KeyPath, change: Any) -> Any:
    if not isinstance(value, dict) or path[0] not in value:
        return value
    inner = value[path[0]]
    if len(path) > 1:
        return {**value, path[0]: _replace(inner, path[1:], change)}
    return {**value, path[0]: change(inner)} if isinstance(inner, str) else value
