"""MNIST's IDX format: a file of images and a file of labels beside it.

Source: LeCun, Cortes & Burges, "The MNIST database", file formats.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distlsh.data.block import RowBlock
from distlsh.data.streams import ByteSource, Progress
from distlsh.errors import DataError

IMAGES_MAGIC = b"\x00\x00\x08\x03"
LABELS_MAGIC = b"\x00\x00\x08\x01"
_ROWS_A_BLOCK = 4096
_PIXELS_A_BLOCK = 1 << 22
_MOST_PIXELS = 1 << 22
"""Pixels of the largest image: of one block's rows all pixels are in memory."""

_SUFFIXES = ("", ".gz", ".bz2", ".xz", ".zst")


def labels_path(images: Path) -> Path:
    """Return the file of labels that belongs to ``images``, found by its name.

    ``...images-idx3...`` becomes ``...labels-idx1...``; any compression suffix may differ.
    """
    name = images.name.replace("images-idx3", "labels-idx1").replace("images.idx3", "labels.idx1")
    if name == images.name:
        raise DataError(images, "the name of an IDX file of images must contain `images-idx3`")
    stem = name
    for suffix in _SUFFIXES[1:]:
        stem = stem.removesuffix(suffix)
    for candidate in [name, *(stem + suffix for suffix in _SUFFIXES)]:
        if (images.parent / candidate).is_file():
            return images.parent / candidate
    raise DataError(images, f"the file of labels {name!r} is missing beside it")


class IdxReader:
    """Reads images as rows of pixels / 255 without the zeros, in blocks of rows."""

    file_format = "idx"
    first_feature = 0

    def __init__(self, path: Path, *, unit: bool = False, progress: Progress | None = None) -> None:
        self.path = path
        self.labels_path = labels_path(path)
        self.n_rows = self.n_features = self.n_labels = 0
        self.text_bytes = 0
        self.parse_s = 0.0
        self._unit = unit
        self._progress = progress

    def blocks(self) -> Iterator[RowBlock]:
        """Yield the rows; DataError if a file is cut, damaged or of another shape."""
        with ByteSource(self.path, self._progress) as images, ByteSource(self.labels_path) as labels:
            n, height, width = _header(images, IMAGES_MAGIC, 3)
            (n_labelled,) = _header(labels, LABELS_MAGIC, 1)
            if n != n_labelled:
                raise DataError(self.path, f"holds {n} images, {self.labels_path.name} {n_labelled} labels")
            if not 0 < height * width <= _MOST_PIXELS:
                raise DataError(
                    self.path, f"images of {height} x {width} pixels; from 1 to {_MOST_PIXELS:,} can be read"
                )
            self.n_features = height * width
            rows = min(_ROWS_A_BLOCK, max(1, _PIXELS_A_BLOCK // self.n_features))
            for first in range(0, n, rows):
                yield self._read_block(images, labels, min(rows, n - first))
            self.text_bytes = images.n_bytes
        self.n_rows = n

    def _read_block(self, images: ByteSource, labels: ByteSource, count: int) -> RowBlock:
        pixels = np.frombuffer(_read_exactly(images, count * self.n_features), np.uint8)
        ids = np.frombuffer(_read_exactly(labels, count), np.uint8)
        self.n_labels = max(self.n_labels, int(ids.max()) + 1)
        return self._block(pixels.reshape(count, self.n_features), ids)

    def _block(self, pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> RowBlock:
        rows, columns = np.nonzero(pixels)
        sizes = np.bincount(rows, minlength=len(pixels)).astype(np.int32)
        values = pixels[rows, columns].astype(np.float32) / np.float32(255)
        if self._unit:
            from distlsh.kernels.parse import scale_rows

            scale_rows(values, sizes)
        ones = np.ones(len(labels), np.int32)
        return RowBlock(ones, sizes, labels.astype(np.int32), columns.astype(np.int32), values)


def _header(source: ByteSource, magic: bytes, n_sizes: int) -> tuple[int, ...]:
    found = source.read(4)
    if found != magic:
        raise DataError(source.path, f"begins with {found.hex()}, expected {magic.hex()} of an IDX file")
    return struct.unpack(f">{n_sizes}I", _read_exactly(source, 4 * n_sizes))


def _read_exactly(source: ByteSource, n: int) -> bytes:
    data = source.read(n)
    if len(data) < n:
        raise DataError(source.path, f"the file is cut off: {n - len(data):,} bytes are missing")
    return data
