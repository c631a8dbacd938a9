"""Archives that ask for more than they are worth, and downloads that others could change."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import resource
import struct
import tarfile
import zipfile
import zlib

import pytest

from distlsh.data import archive as archives
from distlsh.data.archive import extract
from distlsh.data.fetch import _refuse_open_line, _Transfer
from distlsh.errors import DataError

ZEROS = bytes(1 << 20)


def transfer(**changes):
    return _Transfer(1, 1.0, 0.0, lambda name: None, print, **changes)


def header(name, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_tars_are_unpacked_however_they_are_packed(tmp_path, pack):
    """Plain, gzip, bz2 and xz."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("a/b.txt")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    (tmp_path / "x.tar").write_bytes(pack(out.getvalue()))
    assert extract(tmp_path / "x.tar", tmp_path / ".") == {"a/b.txt": 3}
    assert (tmp_path / "a/b.txt").read_bytes() == b"abc"


def test_a_tar_of_terabytes_is_refused_at_its_first_header(tmp_path):
    """What the header says is enough: nothing of it is decompressed to get past it."""
    (tmp_path / "x.tgz").write_bytes(gzip.compress(header("zeros.txt", 8_000_000_000) + ZEROS))
    with pytest.raises(DataError, match="200 times its own"):
        extract(tmp_path / "x.tgz", tmp_path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_tars_own_header_cannot_fill_the_memory(tmp_path, kind):
    """A name or extended header of gigabytes is refused before it is read."""
    with gzip.open(tmp_path / "x.tgz", "wb", 1) as file:
        file.write(header("long", 1 << 31, kind))
        for _ in range(64):
            file.write(ZEROS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="header of 2,147,4"):
        extract(tmp_path / "x.tgz", tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_a_zips_list_of_members_cannot_fill_the_memory(tmp_path):
    """However many members it has: the list alone is refused for its size, before one becomes an object."""
    entry = struct.pack("<4s4B4H3L5H2L", b"PK\1\2", 20, 3, 20, *[0] * 15)
    n_bytes = len(entry) * 1_000_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, n_bytes, 0, 0)
    (tmp_path / "x.zip").write_bytes(entry * 1_000_000 + end)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="header of 46,000,000 bytes"):
        extract(tmp_path / "x.zip", tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 128 << 10  # KiB


def test_a_zip_with_a_comment_is_unpacked(tmp_path):
    """Its end is not at the end of the file."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a.txt", b"abc")
        file.comment = bytes(range(256)) * 255
    assert extract(tmp_path / "x.zip", tmp_path) == {"a.txt": 3}


def test_a_zip_bomb_is_refused(tmp_path, monkeypatch):
    """One that unpacks to a thousand times its size, before anything is written."""
    monkeypatch.setattr(archives, "_SMALL_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros.txt", ZEROS * 16)
    with pytest.raises(DataError, match="200 times its own"):
        extract(tmp_path / "x.zip", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_an_archive_of_too_many_files_is_refused(tmp_path, monkeypatch):
    """Of both kinds, before anything is written."""
    monkeypatch.setattr(archives, "_MOST_MEMBERS", 10)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for i in range(11):
            file.writestr(f"{i}.txt", b"")
    (tmp_path / "x.tar").write_bytes(b"".join(header(f"{i}.txt", 0) for i in range(12)) + bytes(1024))
    for name in ("x.zip", "x.tar"):
        with pytest.raises(DataError, match="more than 10 files"):
            extract(tmp_path / name, tmp_path)


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("http://example.org/x", True),
        ("http://localhost.example.org/x", True),
        ("https://example.org/x", False),
        ("http://127.0.0.1:80/x", False),
    ],
)
def test_a_file_without_a_checksum_comes_over_https_alone(tmp_path, url, refused):
    """Where its checksum is known, any way will do."""
    _refuse_open_line(url, tmp_path, transfer(known_digest=True))
    if not refused:
        return _refuse_open_line(url, tmp_path, transfer())
    with pytest.raises(DataError, match="no https address"):
        _refuse_open_line(url, tmp_path, transfer())


def test_extended_headers_count_and_are_not_kept(tmp_path, monkeypatch):
    """Comments of a mebibyte before each of a hundred empty files take no memory, and count as unpacked."""
    info = tarfile.TarInfo("x")
    with gzip.open(tmp_path / "x.tgz", "wb", 1) as file:
        for i in range(100):
            info.name, info.pax_headers = f"{i}.txt", {"comment": "a" * (1 << 20)}
            file.write(info.tobuf(tarfile.PAX_FORMAT))
        file.write(bytes(1024))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(extract(tmp_path / "x.tgz", tmp_path)) == 100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10  # KiB
    monkeypatch.setattr(archives, "_SMALL_BYTES", 50 << 20)
    monkeypatch.setattr(archives, "_MOST_RATIO", 1)
    with pytest.raises(DataError, match="times its own"):
        extract(tmp_path / "x.tgz", tmp_path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_before_headers_are_counted_together(tmp_path, kind):
    """None is long, but one follows the other and all are held until the member comes."""
    one = header("more", 1 << 19, kind) + b"a" * (1 << 19)
    (tmp_path / "x.tgz").write_bytes(gzip.compress(one * 16 + header("x", 0) + bytes(1024), 1))
    with pytest.raises(DataError, match="at most"):
        extract(tmp_path / "x.tgz", tmp_path)


def test_a_name_that_no_folder_takes_is_refused(tmp_path):
    """A name of 100,000 characters, before anything is written."""
    info = tarfile.TarInfo("a" * 100_000)
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    with pytest.raises(DataError, match="100,000 characters"):
        extract(tmp_path / "x.tar", tmp_path)


def test_an_xz_archive_does_not_get_all_the_memory_it_asks_for(tmp_path):
    """One that asks for a dictionary of 3 GiB is refused."""
    small = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}]
    packed = bytearray(lzma.compress(header("x", 0) + bytes(1024), filters=small))
    packed[16] = 39  # the code of 3 GiB; then the header's own sum
    length = (packed[12] + 1) * 4 - 4
    packed[12 + length : 16 + length] = zlib.crc32(packed[12 : 12 + length]).to_bytes(4, "little")
    (tmp_path / "x.tar.xz").write_bytes(packed)
    with pytest.raises(DataError, match=r"[Mm]emory usage limit"):
        extract(tmp_path / "x.tar.xz", tmp_path)


def test_a_zstd_archive_says_to_decompress_it(tmp_path):
    """It is told from damage."""
    (tmp_path / "x.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    with pytest.raises(DataError, match="compressed with zstd"):
        extract(tmp_path / "x.tar.zst", tmp_path)
