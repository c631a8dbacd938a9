"""YAML in and out, with the line of every key.

The scalars are those of YAML 1.2's core schema: ``1e-4`` is a number, and ``no`` and
``off`` are text.  PyYAML's own rules are those of YAML 1.1, where it is the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from distlsh.errors import ConfigError
from distlsh.files import short as shown

KeyPath = tuple[str, ...]

_RESOLVERS = (
    ("tag:yaml.org,2002:null", r"null|Null|NULL|~|", "nN~\0"),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F_]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?",
        "-+.0123456789",
    ),
)
_OTHER_BREAKS = frozenset("\x85\u2028\u2029")
"""Line breaks to PyYAML, which reads one as a space or as another; only double quotes escape them."""

_CONSTRUCT: dict[str, Callable[[str], Any]] = {
    "tag:yaml.org,2002:null": lambda _: None,
    "tag:yaml.org,2002:bool": lambda text: {"true": True, "false": False}[text.lower()],
    "tag:yaml.org,2002:int": lambda text: int(text, 16) if text[:2] == "0x" else int(text.replace("_", "")),
    "tag:yaml.org,2002:float": lambda text: float(text.replace("_", "")),
    "tag:yaml.org,2002:str": str,
}


MOST_BYTES = 1 << 18
"""Characters of the largest text that is read: PyYAML takes seconds for as much."""

_MOST_VALUES = 20_000
"""Values of a text, those that aliases repeat included: a few bytes can name billions."""

_MOST_DIGITS = 400
"""More digits are no number that anything here takes."""

_SHOWN = 80
"""Characters of a name that a message shows."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written: a line of a file, or an option of the command line."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}, line {self.line}"


@dataclass(frozen=True, slots=True)
class Tree:
    """Nested dicts, lists and scalars, and the place of each of their keys."""

    value: Any
    places: dict[KeyPath, Place]


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own name and type


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own name and type

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = None if _OTHER_BREAKS.isdisjoint(data) else '"'
        node: yaml.ScalarNode = self.represent_scalar("tag:yaml.org,2002:str", data, style=style)
        return node


_Dumper.add_representer(str, _Dumper.represent_str)

for _tag, _pattern, _first in _RESOLVERS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            _tag, re.compile(f"^(?:{_pattern})$"), ["" if c == "\0" else c for c in _first]
        )


def parse(text: str, source: str, *, lines: bool = True) -> Tree:
    """Read one YAML document; ``source`` names it in messages, ``lines`` adds line numbers.

    Raises ConfigError for broken YAML, duplicate keys, keys that are not text and foreign tags.
    """
    if len(text) > MOST_BYTES:
        raise ConfigError(f"{source}: {len(text):,} characters; a configuration has at most {MOST_BYTES:,}")
    places: dict[KeyPath, Place] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        value = None if node is None else _Walk(source, lines, places).value(node, (), ())
    except yaml.YAMLError as error:
        raise ConfigError(_yaml_message(error, source, lines)) from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    return Tree(value, places)


def dump(value: Any) -> str:
    """Write plain dicts, lists and scalars so that `parse` reads the same again."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=100
    )
    return text


class _Walk:
    def __init__(self, source: str, lines: bool, places: dict[KeyPath, Place]) -> None:
        self._source = source
        self._lines = lines
        self._places = places
        self._n_values = 0

    def place(self, node: yaml.Node) -> Place:
        return Place(self._source, node.start_mark.line + 1 if self._lines else None)

    def value(self, node: yaml.Node, path: KeyPath, above: tuple[int, ...]) -> Any:
        self._n_values += 1
        if self._n_values > _MOST_VALUES:
            raise ConfigError(
                f"{self.place(node)}: more than {_MOST_VALUES:,} values, those that aliases repeat included"
            )
        if id(node) in above:
            raise ConfigError(f"{self.place(node)}: {dotted(path)}: an alias that contains itself")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, (*above, id(node)))
        if isinstance(node, yaml.SequenceNode):
            inside = (*above, id(node))
            return [self.value(item, (*path, str(i)), inside) for i, item in enumerate(node.value)]
        construct = _CONSTRUCT.get(node.tag)
        if construct is None:
            raise ConfigError(
                f"{self.place(node)}: {dotted(path)}: tag {short(node.tag)} is not allowed here"
            )
        try:
            if construct is not str and len(node.value) > _MOST_DIGITS:
                raise ValueError
            return construct(node.value)
        except (ValueError, KeyError):
            kind = node.tag.rpartition(":")[2]
            raise ConfigError(
                f"{self.place(node)}: {dotted(path)}: '{short(node.value)}' cannot be read as {kind}"
            ) from None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, above: tuple[int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            here = (*path, key)
            if key in result:
                raise ConfigError(
                    f"{self.place(key_node)}: {dotted(here)}: given twice, first in {self._places[here]}; "
                    "remove one of them"
                )
            self._places[here] = self.place(key_node)
            result[key] = self.value(value_node, here, above)
        return result

    def _key(self, node: yaml.Node, path: KeyPath) -> str:
        if isinstance(node, yaml.ScalarNode):
            return str(node.value)
        within = f" in {dotted(path)}" if path else ""
        raise ConfigError(f"{self.place(node)}: a key{within} must be a plain name")


def dotted(path: KeyPath) -> str:
    """Write a key path as in messages: ``model.hidden.0`` is ``model.hidden[0]``."""
    text = short(".".join(path))
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", text)


def short(text: str) -> str:
    """Return a name or value as messages show it."""
    return shown(text, _SHOWN)


def _yaml_message(error: yaml.YAMLError, source: str, lines: bool) -> str:
    mark = getattr(error, "problem_mark", None)
    what = shown(getattr(error, "problem", None) or " ".join(str(error).split()))
    context = getattr(error, "context", None)
    place = Place(source, mark.line + 1 if lines and mark is not None else None)
    detail = f"{what}, {shown(context)}" if context else what
    return f"{place}: not YAML: {detail}"
