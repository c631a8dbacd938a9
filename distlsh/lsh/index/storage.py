"""An index on disk: a directory of plain arrays and one JSON file that names them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.errors import DistlshError, StoreError, UsageError
from distlsh.files import load_npy, read_json, short
from distlsh.folders import temporary_beside
from distlsh.lsh.index import arrays
from distlsh.lsh.index.checks import check_encoder, check_segment
from distlsh.lsh.index.encoder import Encoder
from distlsh.lsh.index.projection import Projection
from distlsh.lsh.index.segment import Segment
from distlsh.lsh.rows import Rows, SparseRows
from distlsh.lsh.spec import HashSpec

VERSION = 1
_META = "index.json"
_MOST_IDS = 1 << 62
_PARTS = ("labels", "sketches", "details", "starts", "ids", "removed")
_PROJECTION = ("offset", "vectors", "energy")

Arrays = dict[str, NDArray[Any]]


def save(
    path: str | os.PathLike[str],
    params: dict[str, Any],
    encoder: Encoder,
    segments: Sequence[Segment],
    next_id: int,
) -> None:
    """Write an index to the directory ``path``: beside it first, then in its place."""
    target = Path(path)
    if target.exists() and not (target / _META).is_file():
        raise UsageError(
            f"{target}: exists and is no index; give a path that is free, or an index to replace"
        )
    temporary = temporary_beside(target)
    meta = {
        "version": VERSION,
        "params": params,
        "spec": asdict(encoder.spec),
        "metric": encoder.metric,
        "max_norm": encoder.max_norm,
        "scale": encoder.scale,
        "set_bytes": encoder.set_bytes,
        "next_id": next_id,
        "n_dims": _n_dims(segments[0].rows),
        "sparse": isinstance(segments[0].rows, SparseRows),
        "segments": [segment.n_rows for segment in segments],
    }
    try:
        temporary.mkdir(parents=True)
        for name, array in _arrays(encoder, segments).items():
            np.save(temporary / f"{name}.npy", array)
        (temporary / _META).write_text(json.dumps(meta, indent=1) + "\n")
        _put(temporary, target)
    except OSError as error:
        raise UsageError(f"{target}: the index could not be written: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(
    path: str | os.PathLike[str], mmap: bool, verify: bool
) -> tuple[dict[str, Any], Encoder, tuple[Segment, ...], int]:
    """Return the parameters, encoder, segments and next id of a saved index.

    verify  look at every id and place of the tables, and of sparse rows

    Raises StoreError for anything that searches could not trust.
    """
    source = Path(path)
    try:
        meta = read_json(source / _META)
        if meta["version"] != VERSION:
            raise StoreError(f"an index of version {short(meta['version'])}; this distlsh reads {VERSION}")
        read = _Reader(source, mmap)
        encoder = _encoder(meta, read)
        n_dims, next_id = int(meta["n_dims"]), int(meta["next_id"])
        if not 0 <= next_id < _MOST_IDS or not meta["segments"]:
            raise StoreError(f"next id {short(next_id)}, segments {short(meta['segments'])}")
        segments = tuple(_segment(meta, number, read) for number in range(len(meta["segments"])))
        check_encoder(encoder, n_dims, sparse=bool(meta["sparse"]))
        first_id = 0
        for number, segment in enumerate(segments):
            check_segment(segment, number, encoder, n_dims, (first_id, next_id), verify=verify)
            first_id = int(segment.labels[-1]) + 1 if len(segment.labels) else first_id
        return dict(meta["params"]), encoder, segments, next_id
    except FileNotFoundError as error:
        raise StoreError(f"{source}: no index, or not a whole one: {error}; save it again") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, DistlshError) as error:
        raise StoreError(f"{source}: the index is damaged ({short(error)}); save it again") from error


class _Reader:
    def __init__(self, source: Path, mmap: bool) -> None:
        self._source, self._mmap = source, mmap

    def __call__(self, name: str, copy: bool = False) -> NDArray[Any]:
        file = self._source / f"{name}.npy"
        try:
            if not self._mmap or copy:
                return arrays.copied(load_npy(file, mmap=False))
            return load_npy(file, mmap=True)
        except ValueError as error:
            raise StoreError(f"{file.name}: {error}") from None

    def has(self, name: str) -> bool:
        return (self._source / f"{name}.npy").is_file()


def _arrays(encoder: Encoder, segments: Sequence[Segment]) -> Arrays:
    found: Arrays = {}
    if encoder.center is not None:
        found["center"] = encoder.center
    if encoder.projection is not None:
        found |= {f"projection.{name}": getattr(encoder.projection, name) for name in _PROJECTION}
    for number, segment in enumerate(segments):
        found |= {f"{number}.{name}": getattr(segment, name) for name in _PARTS}
        rows = segment.rows
        whole = _sparse_arrays(rows) if isinstance(rows, SparseRows) else {"rows": rows}
        found |= {f"{number}.{name}": array for name, array in whole.items()}
    return found


def _sparse_arrays(rows: SparseRows) -> Arrays:
    return {"indptr": rows.indptr, "indices": rows.indices, "values": rows.values}


def _encoder(meta: dict[str, Any], read: _Reader) -> Encoder:
    projection = None
    if read.has("projection.vectors"):
        projection = Projection(*(read(f"projection.{name}", copy=True) for name in _PROJECTION))
    center = read("center", copy=True) if read.has("center") else None
    spec = HashSpec(**meta["spec"])
    kept = float(meta["scale"]), int(meta["set_bytes"])
    return Encoder(spec, str(meta["metric"]), float(meta["max_norm"]), center, projection, *kept)


def _segment(meta: dict[str, Any], number: int, read: _Reader) -> Segment:
    def part(name: str) -> NDArray[Any]:
        return read(f"{number}.{name}", copy=name == "removed")

    rows: Rows
    if meta["sparse"]:
        rows = SparseRows(part("indptr"), part("indices"), part("values"), int(meta["n_dims"]))
    else:
        rows = part("rows")
    return Segment(rows, **{name: part(name) for name in _PARTS}, _idle=[])


def _put(temporary: Path, target: Path) -> None:
    """Move a directory in the place of another."""
    if not target.exists():
        temporary.rename(target)
        return
    old = temporary.with_suffix(".old")
    target.rename(old)
    temporary.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _n_dims(rows: Rows) -> int:
    return rows.n_dims if isinstance(rows, SparseRows) else int(rows.shape[1])
