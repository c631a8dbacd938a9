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
        labels = self._read_labels()
        with ByteSource(self.path, self._progress) as source:
            n, height, width = _header(source, IMAGES_MAGIC, 3)
            if n != len(labels):
                raise DataError(self.path, f"holds {n} images, {self.labels_path.name} {len(labels)} labels")
            self.n_features = height * width
            for first in range(0, n, _ROWS_A_BLOCK):
                count = min(_ROWS_A_BLOCK, n - first)
                pixels = np.frombuffer(_read_exactly(source, count * self.n_features), np.uint8)
                yield self._block(pixels.reshape(count, self.n_features), labels[first : first + count])
            self.text_bytes = source.n_bytes
        self.n_rows = n
        self.n_labels = int(labels.max()) + 1 if n else 0

    def _read_labels(self) -> NDArray[np.uint8]:
        with ByteSource(self.labels_path) as source:
            (n,) = _header(source, LABELS_MAGIC, 1)
            return np.frombuffer(_read_exactly(source, n), np.uint8)

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
