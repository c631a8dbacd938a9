"""Compare plain data with the schema, and say in words what does not fit."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from distlsh.config.schema import Config
from distlsh.config.yamlio import KeyPath, Place, dotted, short

Places = dict[KeyPath, Place]

_LONGEST_KEY = 100
"""Characters beyond which nothing is like a key; comparing takes their number squared."""

_OTHER_NAMES = {
    "learning_rate": "train.lr",
    "k": "lsh.n_hashes",
    "l": "lsh.n_tables",
    "n_workers": "run.workers",
    "num_workers": "run.workers",
}
"""What other programs call our keys."""


def problems_of(value: Any, places: Places) -> list[str]:
    """Return a line for each key or value of ``value`` that the schema does not allow."""
    return list(_check_group(value, _root(), (), places))


def at(path: KeyPath, places: Places) -> str:
    """Return the start of a message about ``path``: where it was written, and its name."""
    for end in range(len(path), 0, -1):
        place = places.get(path[:end])
        if place is not None:
            return f"{place}: {dotted(path)}: "
    return f"{dotted(path)}: " if path else ""


@cache
def _root() -> inspect.StructType:
    info = inspect.type_info(Config)
    assert isinstance(info, inspect.StructType)
    return info


@cache
def all_keys() -> tuple[str, ...]:
    """Return every key path of the schema that holds a value, in its order."""
    return tuple(dotted(path) for path in _leaves(_root(), ()))


def _leaves(group: inspect.StructType, path: KeyPath) -> Iterator[KeyPath]:
    for field in group.fields:
        inner = _group_in(field.type)
        if inner is None:
            yield (*path, field.name)
        else:
            yield from _leaves(inner, (*path, field.name))


def _group_in(kind: inspect.Type) -> inspect.StructType | None:
    if isinstance(kind, inspect.StructType):
        return kind
    if isinstance(kind, inspect.UnionType):
        return next((one for one in kind.types if isinstance(one, inspect.StructType)), None)
    return None


def _check_group(value: Any, group: inspect.StructType, path: KeyPath, places: Places) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at(path, places)}found {found(value)}; allowed: keys with values ({_names(group)})"
        return
    fields = {field.name: field.type for field in group.fields}
    for key, inner in value.items():
        here = (*path, key)
        if key not in fields:
            yield _unknown(here, group, places)
        else:
            yield from _check_value(inner, fields[key], here, places)


def _check_value(value: Any, kind: inspect.Type, path: KeyPath, places: Places) -> Iterator[str]:
    group = _group_in(kind)
    if group is not None:
        if value is not None or isinstance(kind, inspect.StructType):
            yield from _check_group(value, group, path, places)
        return
    try:
        msgspec.convert(value, _python_type(path), strict=True)
    except msgspec.ValidationError:
        hint = "; put it in quotes" if _wants_text(kind) and isinstance(value, int | float) else ""
        yield f"{at(path, places)}found {found(value)}; allowed: {allowed(kind)}{hint}"


def _unknown(path: KeyPath, group: inspect.StructType, places: Places) -> str:
    near = nearest(".".join(path))
    guess = f"; did you mean {near}?" if near else "."
    within = f" in {dotted(path[:-1])}" if len(path) > 1 else ""
    return f"{at(path, places)}unknown key{guess} Allowed{within}: {_names(group)}"


def nearest(key: str) -> str | None:
    """Return the key path of the schema that is most like ``key``, or None if none is."""
    groups = [field.name for field in _root().fields]
    if len(key) > _LONGEST_KEY:
        return None
    known = [*all_keys(), *groups, "data.synth", "lsh.auto"]
    group, _, name = key.rpartition(".")
    if name.lower() in _OTHER_NAMES:
        return _OTHER_NAMES[name.lower()]
    here = {each.rpartition(".")[2]: each for each in known if each.rpartition(".")[0] == group}
    close = difflib.get_close_matches(name, here, n=1, cutoff=0.6)
    if close:
        return here[close[0]]
    elsewhere = {each.rpartition(".")[2]: each for each in reversed(known)}
    close = difflib.get_close_matches(name, elsewhere, n=1, cutoff=0.75)
    if close:
        return elsewhere[close[0]]
    return next(iter(difflib.get_close_matches(key, known, n=1, cutoff=0.75)), None)


def found(value: Any) -> str:
    """Describe a value that was found, briefly."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text '{short(value)}'"
    if isinstance(value, dict):
        return "a group of keys"
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def allowed(kind: inspect.Type) -> str:
    """Describe in words what a type of the schema allows."""
    if isinstance(kind, inspect.UnionType):
        return " or ".join(allowed(one) for one in kind.types)
    if isinstance(kind, inspect.LiteralType):
        return f"one of {', '.join(str(value) for value in kind.values)}"
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        noun = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
        return f"{noun}{_range(kind)}"
    if isinstance(kind, inspect.ListType):
        item = allowed(kind.item_type).removeprefix("a ")
        least = "a list" if not kind.min_length else f"a list of {kind.min_length} or more"
        return f"{least}, each a {item}"
    words = {inspect.BoolType: "true or false", inspect.StrType: "text", inspect.NoneType: "null"}
    return words.get(type(kind), type(kind).__name__)


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    parts = [
        f"{sign} {_short(bound)}"
        for sign, bound in ((">=", kind.ge), (">", kind.gt), ("<=", kind.le), ("<", kind.lt))
        if bound is not None
    ]
    return " " + " and ".join(parts) if parts else ""


def _short(bound: float) -> str:
    return str(int(bound)) if float(bound).is_integer() else str(bound)


def _names(group: inspect.StructType) -> str:
    return ", ".join(field.name for field in group.fields)


def _wants_text(kind: inspect.Type) -> bool:
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return any(isinstance(one, inspect.StrType) for one in kinds)


@cache
def _python_type(path: KeyPath) -> Any:
    """Return the annotated Python type of a key, as `msgspec.convert` takes it."""
    kind: Any = Config
    for name in path:
        kind = typing.get_type_hints(_struct_in(kind), include_extras=True)[name]
    return kind


def _struct_in(kind: Any) -> Any:
    choices = (kind, *typing.get_args(kind))
    return next(one for one in choices if isinstance(one, type) and issubclass(one, msgspec.Struct))
