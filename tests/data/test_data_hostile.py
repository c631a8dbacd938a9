"""Files made to cost time or memory, or to slip through: refused, or read within bounds."""

from __future__ import annotations

import lzma
import os
import resource
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import zstandard

from distlsh.data import info, open_dataset, streams
from distlsh.data.idx import IdxReader
from distlsh.data.text import TextReader
from distlsh.errors import DataError


def read(path: Path, text: bytes):
    path.write_bytes(text)
    return [
        (block.indices.copy(), block.values.copy(), block.labels.copy())
        for block in TextReader(path).blocks()
    ]


def test_repeated_features_may_not_add_up_to_infinity(tmp_path):
    """Two values that float32 holds, whose sum it does not, are an error that names the row."""
    with pytest.raises(
        DataError, match="line 3: in the row that begins '1:3e38', values of a repeated feature"
    ):
        read(tmp_path / "x", b"2 9 9\n0 1:1\n1:3e38 1:3e38\n")


def test_long_rows_in_any_order_are_put_in_order_quickly(tmp_path):
    """As many features and labels in descending order take a moment: by insertion it would be minutes."""
    n = 400_000
    numbers = [str(i) for i in range(n - 1, -1, -1)]
    row = ",".join(numbers) + " " + " ".join(f"{i}:{i % 7}" for i in range(n - 1, -1, -1)) + " 5:1\n"
    *_, (indices, values, labels) = read(tmp_path / "x", f"1 {n} {n}\n{row}".encode())
    assert labels.tolist() == indices.tolist() == list(range(n))
    expected = np.arange(n) % 7
    expected[5] += 1
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("first", [b"9" * 5000 + b" 1 1\n", b"1 " + b"9" * 30 + b" 1\n"])
def test_a_header_of_absurd_numbers_is_no_header(tmp_path, first):
    """Numbers of more digits than 64 bits hold are told as what was found, not as a Python error."""
    with pytest.raises(DataError, match=r"line 1: found '.*': neither the header"):
        read(tmp_path / "x", first + b"0 0:1\n")


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    """Opening a pipe that nobody writes to would never end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="no plain file"):
        open_dataset(tmp_path / "pipe")


def test_an_xz_file_does_not_get_all_the_memory_it_asks_for(tmp_path):
    """A file that asks for a dictionary of 3 GiB is refused."""
    small = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}]
    data = bytearray(lzma.compress(b"1 1 1\n0 0:1\n", filters=small))
    # Only the block's header is changed: an encoder would itself need ten times as much.
    header = data[12 : 12 + (data[12] + 1) * 4]
    header[header.index(0x21) + 2] = 39
    header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
    data[12 : 12 + len(header)] = header
    with pytest.raises(DataError, match=r"[Mm]emory usage limit"):
        read(tmp_path / "x", bytes(data))


def test_several_xz_streams_with_padding_are_read_as_one_text(tmp_path):
    """Streams may follow one another, zeros between them."""
    parts = (b"2 9 9\n0 1:1\n", b"1 2:1\n")
    data = lzma.compress(parts[0]) + b"\0" * 8 + lzma.compress(parts[1]) + b"\0" * 4
    [(indices, _, labels)] = read(tmp_path / "x", data)
    assert (indices.tolist(), labels.tolist()) == ([1, 2], [0, 1])


BOMB = """
import resource, sys
from pathlib import Path
from distlsh.data.text import TextReader
from distlsh.errors import DataError
import distlsh.kernels.parse
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    for block in TextReader(Path(sys.argv[1])).blocks():
        pass
except DataError as error:
    assert "longer than" in str(error), error
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_a_zstd_bomb_takes_memory_by_steps(tmp_path):
    """A gigabyte of one line in some 30 kB is refused within 400 MiB: at most 64 MiB come of a step."""
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    block = b"0" * (1 << 24)
    with (tmp_path / "bomb").open("wb") as file:
        for _ in range(64):
            file.write(compressor.compress(block))
        file.write(compressor.flush())
    assert (tmp_path / "bomb").stat().st_size < 1 << 18
    done = subprocess.run(
        [sys.executable, "-c", BOMB, str(tmp_path / "bomb")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 400
    assert streams.LINE_LIMIT < 1 << 26


def test_counts_of_data_that_names_two_billion_ids_take_no_memory_for_them(tmp_path):
    """`info` counts the ids that occur; arrays of all ids would take 18 GiB."""
    (tmp_path / "x").write_bytes(b"1 2147483647 2147483647\n2147483646 7:1\n")
    limit = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30), limit[1]))
    try:
        found = info.info(tmp_path / "x", cache_dir=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
    assert (found.labels_used, found.features_used, found.n_labels) == (1, 1, 2**31 - 1)


@pytest.mark.parametrize(("n", "height", "width"), [(1, 2**32 - 1, 2**32 - 1), (1, 0, 5), (2**32 - 1, 1, 1)])
def test_images_of_absurd_sizes_are_refused(tmp_path, n, height, width):
    """Sizes of a header size no buffer: nor pixels beyond reason, nor rows that are not there."""
    sizes = b"".join(number.to_bytes(4, "big") for number in (n, height, width))
    (tmp_path / "x-images-idx3").write_bytes(b"\0\0\x08\x03" + sizes + b"\1")
    (tmp_path / "x-labels-idx1").write_bytes(b"\0\0\x08\x01" + n.to_bytes(4, "big") + b"\1")
    with pytest.raises(DataError, match=r"pixels|cut off"):
        list(IdxReader(tmp_path / "x-images-idx3").blocks())


def test_rows_of_huge_and_tiny_values_are_scaled_to_unit_norm(tmp_path):
    """Squares are summed in twice the precision: those of 3e38 and of 1e-30 are nothing float32 holds."""
    (tmp_path / "x").write_bytes(b"2 9 9\n0 1:3e38 2:-3e38\n0 1:1e-30 3:1e-30\n")
    data = open_dataset(tmp_path / "x", cache_dir=tmp_path, normalize="l2")
    np.testing.assert_allclose(data.values, np.array([1, -1, 1, 1]) / np.sqrt(2), rtol=1e-6)
