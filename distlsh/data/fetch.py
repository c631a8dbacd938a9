"""Downloads known public data sets: resumed where cut off, checked, unpacked.

A download goes to ``NAME.part`` beside its place, with what the server said of its
version in ``NAME.part.json``.  A later attempt asks for the rest of the same version
(RFC 9110, If-Range); where the server has another version, or knows no ranges, it
starts again.  Digests of files for which the catalogue knows none are noted in
``.distlsh-fetch.json`` and compared with later.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from distlsh.data.archive import extract
from distlsh.data.catalogue import CatalogueEntry, CatalogueFile, find_entry, load_catalogue
from distlsh.data.store import write_json
from distlsh.data.streams import Progress, file_sha256
from distlsh.errors import DataError, DistlshError, ResourceError
from distlsh.files import read_json, short
from distlsh.folders import open_without_links

_CHUNK_BYTES = 1 << 18
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_NOTES = ".distlsh-fetch.json"
_NOTES_BYTES = 1 << 25  # an archive's files are named there
_MOST_DIGITS = 18
_CUT = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)

Notice = Callable[[str], None]


class Fetched(msgspec.Struct, kw_only=True):
    """What `fetch` left behind."""

    name: str
    folder: str
    train: str
    test: str | None
    format: str
    sha256: dict[str, str]  # of each downloaded file


@dataclass(frozen=True)
class _Transfer:
    """How to talk to servers."""

    attempts: int
    timeout_s: float
    pause_s: float
    progress: Callable[[str], Progress | None]
    notice: Notice
    known_digest: bool = False


def fetch(
    name: str,
    folder: Path,
    *,
    catalogue: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    notice: Notice | None = None,
    attempts: int = 5,
    timeout_s: float = 30.0,
    pause_s: float = 1.0,
) -> Fetched:
    """Download the data set ``name`` of the catalogue into ``folder`` and return where its files are.

    Files that are there already and have the right digest are not downloaded again.

    catalogue   a file like ``catalogue.yaml``; None: the one that comes with distlsh
    progress    called with (file name, bytes done, bytes in all; -1 if the server does not say)
    notice      called with warnings: a cut connection, a file without a known digest
    attempts    of each file before giving up; what came so far is kept and resumed
    timeout_s   without a byte;  pause_s  before the second attempt, doubled at each further one

    UsageError: unknown name.  DataError: nothing (more) comes, a wrong digest, a bad archive.
    """
    entry = find_entry(name, load_catalogue(catalogue))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def progress_of(file_name: str) -> Progress | None:
        return None if progress is None else lambda done, total: progress(file_name, done, total)

    transfer = _Transfer(attempts, timeout_s, pause_s, progress_of, notice or (lambda text: None))
    digests = {file.name: _fetch_file(file, folder, transfer) for file in entry.files}
    return _fetched(name, entry, folder, digests)


def _fetched(name: str, entry: CatalogueEntry, folder: Path, digests: dict[str, str]) -> Fetched:
    for relative in (entry.train, entry.test):
        if relative is not None and not (folder / relative).is_file():
            raise DataError(
                folder / relative,
                f"is not among the files of {name!r} after unpacking; the publisher may have changed "
                f"the archive, see {entry.homepage}",
            )
    return Fetched(
        name=name,
        folder=str(folder),
        train=str(folder / entry.train),
        test=None if entry.test is None else str(folder / entry.test),
        format=entry.format,
        sha256=digests,
    )


def _fetch_file(file: CatalogueFile, folder: Path, transfer: _Transfer) -> str:
    """Return the digest of the file once it is there, whole, right and unpacked."""
    path = folder / file.name
    expected = file.sha256 or _noted_digest(folder, file)
    if path.is_file() and expected is not None:
        digest = file_sha256(path)
        if digest == expected:
            _unpack(file, path, folder, digest)
            return digest
        transfer.notice(f"{path}: is not the file of the catalogue (other SHA-256); downloading it again")
    part = folder / f"{file.name}.part"
    with _alone(part):
        _download(file.url, part, path, replace(transfer, known_digest=expected is not None))
        digest = file_sha256(part)
        _check_digest(file, part, path, digest, expected, transfer.notice)
        part.replace(path)
        _part_notes(part).unlink(missing_ok=True)
    if file.sha256 is None:
        _note_file(folder, file.name, {"url": file.url, "sha256": digest})
    _unpack(file, path, folder, digest)
    return digest


def _check_digest(
    file: CatalogueFile, part: Path, path: Path, digest: str, expected: str | None, notice: Notice
) -> None:
    if expected is None:
        notice(
            f"{file.name}: the catalogue knows no checksum of this file, so it cannot be told whether it is "
            f"the right one; noted SHA-256 {digest} for later downloads"
        )
    elif digest != expected:
        part.unlink()
        _part_notes(part).unlink(missing_ok=True)
        known = "of the catalogue" if file.sha256 else f"noted at the first download (in {_NOTES})"
        raise DataError(
            path,
            f"the download has SHA-256 {digest}, not the {expected} {known}; it was removed. Try again; "
            f"if it stays so, the file at {file.url} has changed",
        )


def _unpack(file: CatalogueFile, path: Path, folder: Path, digest: str) -> None:
    if not file.extract:
        return
    notes = _read_notes(folder).get(file.name, {})
    if notes.get("extracted") == digest and _are_there(folder, notes.get("members")):
        return
    _note_file(folder, file.name, {"extracted": digest, "members": extract(path, folder)})


def _are_there(folder: Path, members: Any) -> bool:
    """Tell whether files of these names and sizes lie in ``folder``; none at all are not."""
    if not isinstance(members, dict) or not members:
        return False
    try:
        sizes = {name: (folder / name).stat().st_size for name in members if (folder / name).is_file()}
    except (OSError, ValueError):
        return False
    return sizes == members


def _noted_digest(folder: Path, file: CatalogueFile) -> str | None:
    notes = _read_notes(folder).get(file.name, {})
    return notes.get("sha256") if notes.get("url") == file.url else None


def _read_notes(folder: Path) -> dict[str, Any]:
    try:
        notes = read_json(folder / _NOTES, _NOTES_BYTES)
    except (OSError, ValueError):
        return {}
    return {name: entry for name, entry in notes.items() if isinstance(entry, dict)}


def _note_file(folder: Path, name: str, entry: dict[str, Any]) -> None:
    notes = _read_notes(folder)
    notes[name] = {**notes.get(name, {}), **entry}
    write_json(folder / _NOTES, notes)


def _part_notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _download(url: str, part: Path, path: Path, transfer: _Transfer) -> None:
    """Bring all of ``url`` into ``part``, over as many connections as allowed."""
    pause = transfer.pause_s
    for attempt in range(1, transfer.attempts + 1):
        try:
            _receive(url, part, path, transfer)
            return
        except urllib.error.HTTPError as error:
            if error.code not in (408, 425, 429, 500, 502, 503, 504):
                raise DataError(path, f"{url} answers {error.code} {short(error.reason)}") from error
            problem: Exception = error
        except _CUT as error:
            problem = error
        done = part.stat().st_size if part.exists() else 0
        what = f"the download of {url} was cut off after {done:,} bytes ({short(problem)})"
        if attempt == transfer.attempts:
            raise DataError(path, f"{what}, {attempt} times; run the same command again to resume it")
        transfer.notice(f"{what}; trying again in {pause:g} s")
        time.sleep(pause)
        pause *= 2


def _receive(url: str, part: Path, path: Path, transfer: _Transfer) -> None:
    """Do one request for what is missing of ``part``; ConnectionError if it ends early."""
    have = part.stat().st_size if part.exists() else 0
    version = _known_version(url, part) if have else None
    headers = {"User-Agent": "distlsh", "Accept-Encoding": "identity"}
    if version is not None:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    _refuse_open_line(url, path, transfer)
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=transfer.timeout_s)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        os.truncate(part, 0)  # longer than the file: not what the server has
        raise ConnectionError("the part on disk is not of this file; starting again") from error
    with response:
        _refuse_open_line(response.url, path, transfer)
        _refuse_web_page(response, url, path)
        start = have if response.status == 206 and _starts_at(response, have) else 0
        _note_version(response, url, part)
        left = _length(response, url, path)
        total = start + left if left is not None else -1
        _copy(response, part, start, total, transfer.progress(path.name))


def _refuse_open_line(url: str, path: Path, transfer: _Transfer) -> None:
    """Refuse addresses, also those that a server sends on to, where anyone on the way can change the file."""
    parts = urllib.parse.urlsplit(url)
    if transfer.known_digest:
        return
    if parts.scheme != "https" and parts.hostname not in _THIS_MACHINE:
        raise DataError(
            path,
            f"{url} is no https address and the catalogue has no checksum, so anyone on the way could change "
            "the file; download it by hand if you trust it, and put it here under this name",
        )


def _refuse_web_page(response: http.client.HTTPResponse, url: str, path: Path) -> None:
    if response.headers.get_content_type() == "text/html":
        raise DataError(
            path,
            f"{url} answers with a web page, not with the file (a quota, a log-in, or a moved link); "
            "download it with a browser and put it here under this name",
        )


def _length(response: http.client.HTTPResponse, url: str, path: Path) -> int | None:
    """Return the bytes that the server says it sends; None if it says nothing."""
    said = response.headers.get("Content-Length")
    if said is None:
        return None
    if not (said.isascii() and said.isdigit() and len(said) <= _MOST_DIGITS):
        raise DataError(
            path,
            f"{url} answers with a Content-Length of {short(said)!r}, so nobody can tell whether the file "
            "is whole; download it by hand and put it here under this name",
        )
    return int(said)


def _starts_at(response: http.client.HTTPResponse, start: int) -> bool:
    return (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-")


def _known_version(url: str, part: Path) -> str | None:
    """Return the server's name for the version that ``part`` is of, or None if it cannot be resumed."""
    try:
        notes = read_json(_part_notes(part))
    except (OSError, ValueError):
        return None
    version = notes.get("version") if notes.get("url") == url else None
    return version if isinstance(version, str) and version.isprintable() else None


def _note_version(response: http.client.HTTPResponse, url: str, part: Path) -> None:
    tag = response.headers.get("ETag")
    strong = tag if tag and not tag.startswith("W/") else None
    write_json(_part_notes(part), {"url": url, "version": strong or response.headers.get("Last-Modified")})


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Hold what is there of a file, or begin it, against other downloads and `distlsh doctor --clean`.

    DataError where another process holds it, or it is a link; ResourceError where the disk is full.
    """
    with _open_part(part) as file:
        _lock(file, part)
        try:
            yield
        except OSError as error:
            what = error.strerror or str(error)
            raise ResourceError(f"{part}: cannot be written ({what}); the same command goes on") from error
        except DistlshError:
            if os.fstat(file.fileno()).st_size == 0:
                part.unlink(missing_ok=True)
            raise


def _open_part(part: Path) -> BinaryIO:
    try:
        return open_without_links(part, "r+b", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise DataError(part, f"cannot be written ({error.strerror}); remove it") from error


def _lock(file: BinaryIO, part: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who was quicker may have finished in between, and moved it to its place.
        mine = os.path.samestat(os.fstat(file.fileno()), part.lstat())
    except (BlockingIOError, FileNotFoundError):
        mine = False
    except OSError as error:
        raise DataError(part, f"cannot be locked ({error.strerror}); download to another folder") from error
    if not mine:
        raise DataError(part, "another process is downloading it; wait for it") from None


def _copy(
    response: http.client.HTTPResponse, part: Path, start: int, total: int, progress: Progress | None
) -> None:
    done = start
    with open_without_links(part, "r+b", os.O_RDWR) as file:
        file.truncate(start)
        file.seek(start)
        while chunk := _next_of(response):
            file.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
    if total >= 0 and done < total:
        raise ConnectionError(f"{total - done:,} of {total:,} bytes are missing")


def _next_of(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK_BYTES)
    except OSError as error:  # told from those of the disk
        raise ConnectionError(str(error)) from error
