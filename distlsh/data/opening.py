"""From a path or a configuration to data sets: parse once, then reuse the store."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, get_args

from distlsh.config.schema import DataConfig, Format, Normalize
from distlsh.data.cache import believed, build_once, cache_folders, open_current, store_name, writable_folder
from distlsh.data.dataset import Dataset
from distlsh.data.idx import IMAGES_MAGIC, IdxReader, labels_path
from distlsh.data.store import StoreWriter, sample_digest
from distlsh.data.streams import ByteSource, Progress, file_sha256, open_file
from distlsh.data.text import TextReader
from distlsh.errors import ConfigError, DataError


def open_dataset(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    normalize: str = "none",
    progress: Progress | None = None,
    on_build: Callable[[Path], None] | None = None,
) -> Dataset:
    """Return the instances of a file, parsed now or at some earlier time.

    path       Extreme Classification or svmlight text, or an IDX file of images; plain or compressed
    format     "auto" (by content), "xc", "svmlight" or "idx"
    cache_dir  of the store; None: ``.distlsh-cache`` beside the file, or where that cannot be written
               the user's cache
    normalize  "l2" scales each row to Euclidean norm 1 (rows of norm 0 stay)
    progress   called while parsing with (bytes of the file done, bytes of the file)
    on_build   called with the path before a file is parsed

    The store is used again only if its version, its settings and its source file match: the same
    size and modification time and the same sampled bytes, or else the same SHA-256.
    DataError names the file and line that cannot be read; StoreError where no store can be written.
    """
    _check_choice("format", format, get_args(Format))
    _check_choice("normalize", normalize, get_args(Normalize))
    source = Path(path).expanduser()
    kind = _kind(source, format)
    files = [source, labels_path(source)] if kind == "idx" else [source]
    folders = cache_folders(source, cache_dir)
    current = _SourceCheck(files)
    trusts = partial(believed, source=source, chosen=cache_dir is not None)
    for folder in folders:
        found = open_current(folder / store_name(source, folder, kind, normalize), trusts, current)
        if found is not None:
            return found
    folder = writable_folder(folders)
    final = folder / store_name(source, folder, kind, normalize)

    def build(temporary: Path) -> None:
        if on_build is not None:
            on_build(source)
        _parse_to_store(temporary, files, kind, normalize, progress)

    return build_once(final, build, trusts, current)


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"data.{name}: found {value!r}, expected one of {', '.join(allowed)}")


def _kind(source: Path, file_format: str) -> str:
    if file_format != "auto":
        with open_file(source):
            return file_format
    with ByteSource(source) as opened:
        return "idx" if opened.read(4) == IMAGES_MAGIC else "auto"


def _parse_to_store(
    folder: Path, files: list[Path], kind: str, normalize: str, progress: Progress | None
) -> None:
    before = [_describe_source(file) for file in files]
    reader: TextReader | IdxReader
    if kind == "idx":
        reader = IdxReader(files[0], unit=normalize == "l2", progress=progress)
    else:
        reader = TextReader(files[0], file_format=kind, unit=normalize == "l2", progress=progress)
    with StoreWriter(folder) as writer:
        for block in reader.blocks():
            writer.append(block)
        if [_describe_source(file) for file in files] != before:
            raise DataError(files[0], "the file changed while it was read; try again when it is complete")
        sources = [{**entry, "sha256": file_sha256(file)} for entry, file in zip(before, files, strict=True)]
        meta: dict[str, Any] = {
            "name": files[0].name,
            "sources": sources,
            "format": reader.file_format,
            "normalize": normalize,
            "first_feature": reader.first_feature,
            "text_bytes": reader.text_bytes,
            "parse_s": reader.parse_s,
        }
        writer.finish(reader.n_features, reader.n_labels, meta)


def _describe_source(path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {
        "path": str(path.resolve()),
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "sample": sample_digest(path),
    }


class _SourceCheck:
    """Tells whether a store was made of these very files."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files

    def __call__(self, store: Dataset) -> bool:
        noted = store.meta.get("sources", [])
        return len(noted) == len(self._files) and all(
            self._same(file, entry) for file, entry in zip(self._files, noted, strict=True)
        )

    def _same(self, file: Path, entry: dict[str, Any]) -> bool:
        stat = file.stat()
        if stat.st_size != entry["size"] or sample_digest(file) != entry["sample"]:
            return False
        return bool(stat.st_mtime_ns == entry["mtime_ns"] or file_sha256(file) == entry["sha256"])


def open_pair(
    config: DataConfig, *, progress: Progress | None = None, on_build: Callable[[Path], None] | None = None
) -> tuple[Dataset, Dataset | None]:
    """Return the training and test sets of a configuration, over the same id ranges.

    ``n_features`` and ``n_labels`` are the larger of the two headers'.  Files not parsed yet are
    parsed side by side.  ConfigError if neither or both of ``train`` and ``synth`` are given.
    """
    if (config.train is None) == (config.synth is None):
        found = "neither" if config.train is None else "both"
        raise ConfigError(f"data.train, data.synth: {found} given; name a file, or settings to generate data")
    if config.synth is not None:
        from distlsh.data.synth import open_synth

        return open_synth(
            config.synth, cache_dir=config.cache_dir, normalize=config.normalize, progress=progress
        )

    total = _TotalProgress(progress)

    def load(path: str) -> Dataset:
        return open_dataset(
            path,
            format=config.format,
            cache_dir=config.cache_dir,
            normalize=config.normalize,
            progress=total.of(path),
            on_build=on_build,
        )

    paths = [path for path in (config.train, config.test) if path is not None]
    with ThreadPoolExecutor(len(paths)) as pool:
        train, *rest = pool.map(load, paths)
    return _agree(train, rest[0] if rest else None)


class _TotalProgress:
    """Adds up the progress of files that are parsed side by side."""

    def __init__(self, report: Progress | None) -> None:
        self._report = report
        self._parts: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Progress | None:
        """Return the callback for one file, None if nobody listens."""
        report = self._report
        if report is None:
            return None

        def update(done: int, size: int) -> None:
            with self._lock:
                self._parts[name] = (done, size)
                report(*(sum(column) for column in zip(*self._parts.values(), strict=True)))

        return update


def _agree(train: Dataset, test: Dataset | None) -> tuple[Dataset, Dataset | None]:
    if test is None:
        return train, None
    n_features = max(train.n_features, test.n_features)
    n_labels = max(train.n_labels, test.n_labels)
    return train.with_sizes(n_features, n_labels), test.with_sizes(n_features, n_labels)
