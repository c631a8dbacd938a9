"""Keep the tables of configuration.md true to the schema.

    python docs/update_configuration.py            rewrite types and defaults in place
    python docs/update_configuration.py --check    exit 1 if the page is not what that would write

The meaning of a key is written by hand in the page; type, range and default come from
distlsh/config/schema.py.  A key that the page lacks gets the meaning ``TODO``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from distlsh.config.explain import allowed
from distlsh.config.schema import AutoConfig, Config, HiddenLshConfig, SynthConfig

PAGE = Path(__file__).resolve().parent / "configuration.md"
MISSING = "TODO"
_ROW = re.compile(r"^\| `([a-z0-9_.]+)` \| (.*) \| (.*) \| (.*) \|$")
_TABLE = re.compile(r"(<!-- keys of ([a-z.]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_HEAD = "| key | allowed | default | meaning |\n|---|---|---|---|\n"


def groups() -> dict[str, Any]:
    """Return the struct of each group of keys by its dotted name, in the schema's order."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(Config):
        found[field.name] = field.type
        if field.name == "data":
            found["data.synth"] = SynthConfig
        if field.name == "lsh":
            found["lsh.auto"] = AutoConfig
            found["lsh.hidden"] = HiddenLshConfig
    return found


def meanings(page: str) -> dict[str, str]:
    """Return what the page says of each key."""
    rows = (_ROW.match(line) for line in page.splitlines())
    return {row[1]: row[4] for row in rows if row}


def default_of(field: msgspec.structs.FieldInfo) -> str:
    """Return a default as YAML writes it."""
    value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:_}" if isinstance(value, int) and value >= 10_000 else str(value)


def table(group: str, known: dict[str, str]) -> str:
    """Return the table of one group."""
    kind = groups()[group]
    types = {field.name: field.type for field in _fields(kind)}
    lines = []
    for field in msgspec.structs.fields(kind):
        key = f"{group}.{field.name}"
        if key not in groups():
            meaning = known.get(key, MISSING)
            lines.append(f"| `{key}` | {allowed(types[field.name])} | `{default_of(field)}` | {meaning} |\n")
    return _HEAD + "".join(lines)


def _fields(kind: Any) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return info.fields


def updated(page: str) -> str:
    """Return the page with its tables written anew."""
    known = meanings(page)
    return _TABLE.sub(lambda match: match[1] + table(match[2], known) + match[4], page)


def main(arguments: list[str]) -> int:
    """Rewrite or check the page."""
    before = PAGE.read_text(encoding="utf-8")
    after = updated(before)
    if "--check" in arguments:
        return int(before != after or MISSING in meanings(after).values())
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
