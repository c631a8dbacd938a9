"""What ``meta.json`` of a store must say."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

_MOST_IDS = 1 << 31
_MOST_ENTRIES = 1 << 60

Size = Annotated[int, msgspec.Meta(ge=0, le=_MOST_IDS)]
Length = Annotated[int, msgspec.Meta(ge=0, le=_MOST_ENTRIES)]


class _Entry(msgspec.Struct, frozen=True):
    """What ``meta.json`` says of an array."""

    dtype: str
    length: Length
    crc32: int
    sample_crc32: int


class _Arrays(msgspec.Struct, frozen=True):
    """The arrays of a store."""

    indptr: _Entry
    indices: _Entry
    values: _Entry
    label_indptr: _Entry
    labels: _Entry


class _Source(msgspec.Struct, frozen=True):
    """A file that a store was made of."""

    size: int
    mtime_ns: int
    sample: str
    sha256: str


class _Meta(msgspec.Struct, frozen=True):
    """What readers of ``meta.json`` rely on; it may hold more."""

    version: int
    n_rows: Length
    n_features: Size
    n_labels: Size
    arrays: _Arrays
    name: str = ""
    format: str = ""
    normalize: str = "none"
    first_feature: int = 0
    text_bytes: int | None = None
    parse_s: float | None = None
    sources: list[_Source] = []


def check_meta(content: dict[str, Any]) -> None:
    """Raise ValueError unless ``meta.json`` says all that its readers ask for, in values that can be."""
    try:
        meta = msgspec.convert(content, _Meta)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    arrays, rows = meta.arrays, meta.n_rows + 1
    if (arrays.indptr.length, arrays.label_indptr.length) != (rows, rows):
        raise ValueError(
            f"{meta.n_rows} rows, but {arrays.indptr.length} and {arrays.label_indptr.length} ends"
        )
    if arrays.indices.length != arrays.values.length:
        raise ValueError(f"{arrays.indices.length} indices for {arrays.values.length} values")
