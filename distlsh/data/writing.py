"""Writes rows as text in the Extreme Classification format."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from distlsh.data.block import RowBlock
from distlsh.data.text import Header
from distlsh.errors import DataError
from distlsh.folders import temporary_beside


@contextmanager
def text_output(path: Path) -> Iterator[BinaryIO]:
    """Open a new file beside ``path`` that takes its place when all went well.

    Compressed if the name ends in .gz, .bz2, .xz or .zst.
    """
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as raw, _compressor(raw, path.suffix) as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        raise DataError(path, f"cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _compressor(raw: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    file: BinaryIO = raw
    if suffix == ".gz":
        file = cast(BinaryIO, gzip.GzipFile("", "wb", 1, raw, mtime=0))
    elif suffix == ".bz2":
        file = cast(BinaryIO, bz2.BZ2File(raw, "wb", compresslevel=3))
    elif suffix == ".xz":
        file = cast(BinaryIO, lzma.LZMAFile(raw, "wb", preset=1))  # noqa: SIM115, closed below
    elif suffix == ".zst":
        import zstandard

        file = cast(BinaryIO, zstandard.ZstdCompressor(3).stream_writer(raw, closefd=False))
    yield file
    if file is not raw:
        file.close()


def format_block(block: RowBlock, decimals: int) -> bytes:
    """Return the rows of ``block`` as text with ``decimals`` places after each point."""
    from distlsh.kernels.format import format_rows, text_capacity

    out = np.empty(text_capacity(block.n_rows, len(block.labels), len(block.indices)), np.uint8)
    n = format_rows(
        block.label_sizes, block.feature_sizes, block.labels, block.indices, block.values, decimals, out
    )
    return out[:n].tobytes()


def write_xc(path: Path, header: Header, blocks: Iterable[RowBlock], *, decimals: int = 6) -> None:
    """Write ``blocks`` under ``header`` to ``path``, one block in memory at a time.

    Values are rounded to ``decimals`` places (1 to 9) and must be below 1e9.
    DataError if the file cannot be written.
    """
    with text_output(path) as file:
        file.write(f"{header.n_rows} {header.n_features} {header.n_labels}\n".encode())
        for block in blocks:
            file.write(format_block(block, decimals))
