"""What a checkpoint was saved with against what it is asked to go on with, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from distlsh.files import short

_WORDS = {"model": "network", "lsh": "hash functions", "hidden_lsh": "hash functions of hidden layer"}
_ABSENT = object()
_MOST, _LONGEST = 20, 300
"""Lines, and characters of one, that a person reads of a checkpoint that says anything at all."""


def differences(what: str, saved: Any, now: Any) -> list[str]:
    """Return a line for each value that differs, with both.

    what  "config.<group>", "model", "lsh", "hidden_lsh", or "data": number and checksums of instances
    """
    if what == "data":
        return _of_data(saved or {}, now or {})
    return [
        f"{_name(what, path)}: {_said(a)} in the checkpoint, {_said(b)} now"
        for path, a, b in _pairs(saved, now)
    ]


def in_short(lines: list[str]) -> list[str]:
    """Return the first lines of `differences`, none of them long, and how many more there are."""
    more = [f"and {len(lines) - _MOST:,} more"] if len(lines) > _MOST else []
    return [*(short(line, _LONGEST) for line in lines[:_MOST]), *more]


def _of_data(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    if saved.get("n_train") != now.get("n_train"):
        a, b = (_said(one.get("n_train", _ABSENT)) for one in (saved, now))
        return [f"training instances: {a} in the checkpoint, {b} now"]
    changed = [name for name in sorted({**saved, **now}) if saved.get(name) != now.get(name)]
    return [f"training instances: as many, but others: {', '.join(changed)} differ"] if changed else []


def _pairs(saved: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(saved, dict) and isinstance(now, dict):
        for key in sorted({**saved, **now}):
            below = f"{path}.{key}" if path else str(key)
            yield from _pairs(saved.get(key, _ABSENT), now.get(key, _ABSENT), below)
    elif saved != now:
        yield path, saved, now


def _name(what: str, path: str) -> str:
    if what.startswith("config."):
        return f"{what.removeprefix('config.')}.{path}".rstrip(".")
    return f"{_WORDS.get(what, what)} {path}".rstrip()


def _said(value: Any) -> str:
    if value is _ABSENT or value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
