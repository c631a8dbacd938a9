"""Archives that ask for more than they are worth, and downloads that others could change."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import resource
import tarfile
import zipfile

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
