"""Text: in memory against the slow reference, and through real files, plain and compressed."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import zstandard

from distlsh.data import streams
from distlsh.data import text as module
from distlsh.data.streams import BLOCK_BYTES, text_blocks
from distlsh.data.text import TextReader
from distlsh.errors import DataError
from tests.fuzz.mutator import Mutator
from tests.fuzz.place import scratch
from tests.fuzz.reference import BadText, Reference, Unsure
from tests.fuzz.target import Target, Wrong

SEEDS = (
    b"3 10 5\n0,2 1:1.5 4:2\n 3:1\n4\n",
    b"2 100 9\r\n1,2,8 0:1e-3 99:0.25 50:-7.125\r\n\t5:1\r\n",
    b"4 2147483647 2147483647\n2147483646 2147483646:1\n\n\n0 0:0\n",
    b"# a comment\n1 1:0.5 3:2 # more\n-1 2:1\n+1 qid:3 7:1e5\n\n",
    b"3.0,1 qid:1 5:1 4:2 5:3\n0\n,1 2:3\n",
    b"\xef\xbb\xbf1 3 3\n2,1,0 2:3.4028234e38 0:1.17549435e-38 1:1e-46\n",
    b"1 1 1\n0 " + b" ".join(b"0:%d" % i for i in range(40)) + b"\n",
    b"0 0 0\n",
)
TOKENS = (
    b"\n", b"\r\n", b"\r", b"\t", b" ", b":", b",", b"#", b"qid:", b"qid:7 ", b"-1", b"+1", b"nan", b"inf",
    b"1e", b"1e999", b"-1e-999", b"0x10", b"1_0", b"\0", b"\xef\xbb\xbf", b"\xc2\xa0", b"0" * 300,
    b"9" * 300, b"1:1 " * 80, b"3 3 3\n", b"." * 9, b"0.0,", b"-0", b"3.40282357e38", b"1:3e38 1:3e38 ",
)  # fmt: skip
_BLOCKS = (BLOCK_BYTES, BLOCK_BYTES, 64, 17)


class Memory:
    """Bytes in memory in the place of a file's."""

    def __init__(self, data: bytes) -> None:
        self.path, self.n_bytes = Path("memory"), 0
        self._file = io.BytesIO(data)

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def read(self, n: int) -> bytes:
        data = self._file.read(n)
        self.n_bytes += len(data)
        return data


@contextlib.contextmanager
def in_memory(data: bytes, block_bytes: int) -> Iterator[TextReader]:
    """Give a reader of ``data``, in blocks of about ``block_bytes``."""
    usual = module.ByteSource, module.text_blocks, streams._read_ahead
    module.ByteSource = lambda path, progress: Memory(data)
    module.text_blocks = lambda source: text_blocks(source, block_bytes)
    streams._read_ahead = lambda source, n: iter(
        lambda: source.read(n), b""
    )  # a thread an input would cost most
    try:
        yield TextReader(Path("memory"))
    finally:
        module.ByteSource, module.text_blocks, streams._read_ahead = usual


def rows_of(reader: TextReader) -> tuple[list[list[int]], list[dict[int, np.float32]]]:
    """Return the labels and features of each row."""
    labels, features = [], []
    for block in reader.blocks():
        at = 0
        for n in block.label_sizes.tolist():
            labels.append(block.labels[at : at + n].tolist())
            at += n
        at = 0
        for n in block.feature_sizes.tolist():
            ids, values = block.indices[at : at + n].tolist(), block.values[at : at + n].copy()
            if ids != sorted(set(ids)):
                raise Wrong(f"features {ids} do not ascend")
            features.append(dict(zip(ids, values, strict=True)))
            at += n
    return labels, features


def take_text(data: bytes) -> bool:
    """Read text; what is accepted must be what the reference reads."""
    try:
        expected: Reference | None = Reference(data)
    except BadText:
        expected = None
    except Unsure:
        return False
    with in_memory(data, _BLOCKS[zlib.crc32(data) % len(_BLOCKS)]) as reader:
        try:
            labels, features = rows_of(reader)
        except DataError as error:
            if expected is not None:
                raise Wrong(f"refused, though the reference reads it: {error}") from error
            raise
    if expected is None:
        raise Wrong("accepted, though the reference refuses it")
    _compare(expected, labels, features)
    found = reader.n_rows, reader.n_features, reader.n_labels
    if found != (len(expected.rows), expected.n_features, expected.n_labels):
        raise Wrong(f"sizes {found}")
    return True


def _compare(expected: Reference, labels: list[list[int]], features: list[dict[int, np.float32]]) -> None:
    if labels != [row.labels for row in expected.rows]:
        raise Wrong(f"labels {labels} for {[row.labels for row in expected.rows]}")
    for number, (row, found) in enumerate(zip(expected.rows, features, strict=True)):
        if list(found) != sorted(row.features):
            raise Wrong(f"row {number}: features {sorted(found)} for {sorted(row.features)}")
        for feature, value in found.items():
            right = row.features[feature]
            room = 4e-7 * abs(float(right)) + 3e-45
            if not abs(np.float64(value) - np.float64(right)) <= room:
                raise Wrong(f"row {number}: {feature}:{value!r} for {right!r}")


def make_text(random: Random) -> bytes:
    """Return text that was once valid."""
    data = random.choice(SEEDS)
    if random.random() < 0.02:
        data += b"".join(random.choice(SEEDS).split(b"\n", 1)[1] for _ in range(random.randrange(200)))
    return Mutator(random, TOKENS).bytes(data, SEEDS, most=4)


COMPRESS = {
    "plain": lambda data: data,
    "gzip": lambda data: gzip.compress(data, 1, mtime=0),
    "bz2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": lambda data: zstandard.ZstdCompressor(level=1).compress(data),
}
_VALID = {kind: tuple(compress(seed) for seed in SEEDS) for kind, compress in COMPRESS.items()}


def make_file(random: Random) -> bytes:
    """Return a file: compressed text that was changed before, after, or both; now and then two in a row."""
    kind = random.choice(list(COMPRESS))
    if random.random() < 0.3:
        data = COMPRESS[kind](make_text(random))
    else:
        data = random.choice(_VALID[kind])
    if random.random() < 0.1:
        data += random.choice(_VALID[random.choice(list(COMPRESS))])
    if random.random() < 0.8:
        data = Mutator(random, (b"\0" * 16, b"\xff" * 8)).bytes(data, _VALID[kind], most=3)
    return data


def take_file(data: bytes) -> bool:
    """Read a real file."""
    with scratch() as folder:
        (folder / "data").write_bytes(data)
        rows_of(TextReader(folder / "data"))
    return True


TARGETS = (
    Target("text", make_text, take_text, share=8),
    Target("file", make_file, take_file),
)
