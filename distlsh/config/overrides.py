"""``--set a.b=value``: settings of the command line, over those of the file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from distlsh.config.explain import nearest
from distlsh.config.yamlio import KeyPath, Place, Tree, parse, short
from distlsh.errors import ConfigError


def parse_override(text: str) -> tuple[KeyPath, Tree]:
    """Split ``a.b=value`` into the key path and the value, read as YAML.

    Nothing after the ``=`` is null.  Raises ConfigError, naming the override.
    """
    source = f"--set {short(text)}"
    key, equals, value = text.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        near = nearest(key.strip())
        example = f"{near}=VALUE" if near else "train.lr=0.01"
        raise ConfigError(f"{source}: expected KEY=VALUE, such as --set {example}")
    inner = parse(value, source, lines=False)
    places = {path[:end]: Place(source) for end in range(1, len(path) + 1)}
    places.update({(*path, *below): place for below, place in inner.places.items()})
    return path, Tree(inner.value, places)


def apply(tree: Tree, overrides: Iterable[tuple[KeyPath, Tree]]) -> Tree:
    """Return ``tree`` with each override set in turn; later ones win."""
    value: Any = tree.value
    places = dict(tree.places)
    for path, inner in overrides:
        value = _set(value, path, inner.value)
        for old in [old for old in places if old[: len(path)] == path]:
            del places[old]
        groups = {path[:end] for end in range(1, len(path))}
        places.update(
            {key: place for key, place in inner.places.items() if key not in groups or key not in places}
        )
    return Tree(value, places)


def _set(value: Any, path: KeyPath, new: Any) -> Any:
    if not path:
        return new
    group = dict(value) if isinstance(value, dict) else {}
    group[path[0]] = _set(group.get(path[0]), path[1:], new)
    return group
