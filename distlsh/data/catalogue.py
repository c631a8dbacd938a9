"""The catalogue of known public data sets."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from distlsh.errors import ConfigError, UsageError

_PLAIN = r"^[^/\\\x00]+$"


class CatalogueFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file to download."""

    url: Annotated[str, Meta(pattern="^https?://")]
    name: Annotated[str, Meta(pattern=_PLAIN)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None
    extract: bool = False


class CatalogueEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One data set: its files, and which of the paths they give are train and test."""

    description: str
    homepage: str
    format: str
    train: str
    test: str | None = None
    files: Annotated[list[CatalogueFile], Meta(min_length=1)]


def load_catalogue(path: Path | None = None) -> dict[str, CatalogueEntry]:
    """Return the data sets by name: the catalogue that comes with distlsh, or the file ``path``.

    ConfigError says where the file is not as described in ``catalogue.yaml``.
    """
    import yaml

    try:
        if path is None:
            text = resources.files("distlsh.data").joinpath("catalogue.yaml").read_text(encoding="utf-8")
        else:
            text = path.read_text(encoding="utf-8")
        return msgspec.convert(yaml.safe_load(text), dict[str, CatalogueEntry])
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path or 'catalogue.yaml'}: not a catalogue of data sets: {error}") from error


def find_entry(name: str, catalogue: dict[str, CatalogueEntry]) -> CatalogueEntry:
    """Return the entry ``name``; UsageError names the nearest right one and all others."""
    if name in catalogue:
        return catalogue[name]
    near = difflib.get_close_matches(name.lower(), catalogue, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise UsageError(f"no data set {name!r} in the catalogue{hint} Known: {', '.join(sorted(catalogue))}")
