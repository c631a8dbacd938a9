"""Statistics of a data set, and their text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from distlsh.data.dataset import Dataset
from distlsh.data.opening import open_dataset
from distlsh.data.store import store_bytes
from distlsh.data.streams import Progress

_ROOM = 16
"""Ids for each entry from which on only those that occur are counted."""

_QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)


class Info(msgspec.Struct, kw_only=True):
    """What `info` found; counts unless the name says otherwise."""

    source: str
    format: str
    n_rows: int
    n_features: int
    n_labels: int
    n_nonzeros: int
    nonzeros_mean: float  # a row
    nonzeros_max: int
    n_label_entries: int
    labels_mean: float  # a row
    labels_max: int
    rows_without_labels: int
    rows_without_features: int
    features_used: int
    first_feature: int  # smallest id in the file
    labels_used: int
    labels_with_one_instance: int
    label_count_quantiles: dict[str, int]  # of the labels that occur
    value_min: float | None
    value_max: float | None
    file_bytes: int | None
    store_bytes: int | None
    store_path: str | None
    text_bytes: int | None  # decompressed
    parse_mb_per_s: float | None  # of text, when the store was made; decompression not included


def info(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Info:
    """Return the statistics of a data file, parsing it if that was not done yet.

    Arguments and errors are those of `open_dataset`.
    """
    return dataset_info(open_dataset(path, format=format, cache_dir=cache_dir, progress=progress))


def dataset_info(dataset: Dataset) -> Info:
    """Return the statistics of an open data set."""
    nonzeros, labels = np.diff(dataset.indptr), np.diff(dataset.label_indptr)
    used = _counts(dataset)
    return Info(
        source=dataset.source,
        n_rows=dataset.n_rows,
        n_features=dataset.n_features,
        n_labels=dataset.n_labels,
        n_nonzeros=len(dataset.indices),
        nonzeros_mean=_mean(nonzeros),
        nonzeros_max=_max(nonzeros),
        n_label_entries=len(dataset.labels),
        labels_mean=_mean(labels),
        labels_max=_max(labels),
        rows_without_labels=int(np.count_nonzero(labels == 0)),
        rows_without_features=int(np.count_nonzero(nonzeros == 0)),
        features_used=_n_used(dataset),
        labels_used=len(used),
        labels_with_one_instance=int(np.count_nonzero(used == 1)),
        label_count_quantiles=_quantiles(used),
        value_min=float(dataset.values.min()) if len(dataset.values) else None,
        value_max=float(dataset.values.max()) if len(dataset.values) else None,
        **_origin(dataset),
    )


def _origin(dataset: Dataset) -> dict[str, Any]:
    meta = dataset.meta
    sources = meta.get("sources")
    text_bytes, parse_s = meta.get("text_bytes"), meta.get("parse_s")
    return {
        "format": meta.get("format", "arrays"),
        "first_feature": meta.get("first_feature", 0),
        "file_bytes": sum(entry["size"] for entry in sources) if sources else None,
        "store_bytes": None if dataset.path is None else store_bytes(dataset.path),
        "store_path": None if dataset.path is None else str(dataset.path),
        "text_bytes": text_bytes,
        "parse_mb_per_s": text_bytes / parse_s / 1e6 if text_bytes and parse_s else None,
    }


def _mean(sizes: Any) -> float:
    return float(sizes.mean()) if len(sizes) else 0.0


def _max(sizes: Any) -> int:
    return int(sizes.max()) if len(sizes) else 0


def _sparse(n_ids: int, n_entries: int) -> bool:
    """Tell whether an array of all ids would be far larger than the data: a header may name any number."""
    return n_ids > _ROOM * max(n_entries, 1 << 20)


def _counts(dataset: Dataset) -> Any:
    """Return the instances of each label that occurs."""
    if _sparse(dataset.n_labels, len(dataset.labels)):
        return np.unique(dataset.labels, return_counts=True)[1]
    counts = dataset.label_counts()
    return counts[counts > 0]


def _n_used(dataset: Dataset) -> int:
    if _sparse(dataset.n_features, len(dataset.indices)):
        return len(np.unique(dataset.indices))
    seen = np.zeros(dataset.n_features, np.bool_)
    seen[dataset.indices] = True
    return int(np.count_nonzero(seen))


def _quantiles(counts: Any) -> dict[str, int]:
    if not len(counts):
        return {}
    found = np.quantile(counts, _QUANTILES, method="lower")
    return {f"{q:g}": int(value) for q, value in zip(_QUANTILES, found, strict=True)}


def render_info(info: Info) -> str:
    """Return the statistics as lines of text, without a newline at the end."""
    rows = [
        ("data set", f"{info.source} ({info.format})"),
        ("instances", f"{info.n_rows:,}"),
        ("features", f"{info.n_features:,} ({info.features_used:,} occur)"),
        ("labels", f"{info.n_labels:,} ({info.labels_used:,} occur)"),
        ("non-zeros", _render_entries(info.n_nonzeros, info.nonzeros_mean, info.nonzeros_max)),
        ("label entries", _render_entries(info.n_label_entries, info.labels_mean, info.labels_max)),
        ("without labels", f"{info.rows_without_labels:,} instances"),
        ("without features", f"{info.rows_without_features:,} instances"),
        ("labels with 1 instance", f"{info.labels_with_one_instance:,}"),
        ("instances a label", _render_quantiles(info.label_count_quantiles)),
        ("values", _render_range(info)),
        *_render_origin(info),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _render_entries(n: int, mean: float, largest: int) -> str:
    return f"{n:,} ({mean:.2f} an instance, at most {largest:,})"


def _render_quantiles(quantiles: dict[str, int]) -> str:
    if not quantiles:
        return "no label occurs"
    names = {"0": "min", "0.5": "median", "1": "max"}
    shown = (f"{names.get(q, f'{float(q):.0%}')} {value:,}" for q, value in quantiles.items())
    return ", ".join(shown) + " (of labels that occur)"


def _render_range(info: Info) -> str:
    if info.value_min is None or info.value_max is None:
        return "none"
    return f"{info.value_min:g} to {info.value_max:g}"


def _render_origin(info: Info) -> list[tuple[str, str]]:
    rows = []
    if info.first_feature > 0:
        rows.append(("first feature id", f"{info.first_feature} (ids are kept as they stand)"))
    if info.file_bytes is not None:
        text = f", {_size(info.text_bytes)} of text" if info.text_bytes else ""
        rows.append(("file", _size(info.file_bytes) + text))
    if info.store_bytes is not None:
        rows.append(("store", f"{_size(info.store_bytes)} in {Path(info.store_path or '')}"))
    if info.parse_mb_per_s is not None:
        rows.append(("parsed at", f"{info.parse_mb_per_s:,.0f} MB/s of text"))
    return rows


def _size(n_bytes: int) -> str:
    size = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
