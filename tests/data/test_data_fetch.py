"""Downloads, against a local server that cuts, changes and refuses as asked."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import resource
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml

from distlsh.data import fetch as fetching
from distlsh.data.archive import extract
from distlsh.data.catalogue import find_entry, load_catalogue
from distlsh.data.fetch import Fetched, fetch
from distlsh.errors import ConfigError, DataError, ResourceError, UsageError

BODY = np.random.default_rng(5).bytes(900_000)
TEXT = b"2 10 5\n0 1:1\n1 2:1\n"


class Server(ThreadingHTTPServer):
    """Serves ``body`` under any path; the other attributes make it misbehave."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.etag: str | None = '"v1"'
        self.ranges = True
        self.length: bool | str = True
        self.cut_after: list[int] = []
        self.statuses: list[int | tuple[int, str]] = []
        self.content_type = "application/octet-stream"
        self.requests: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/set.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        server.requests.append(dict(self.headers))
        if server.statuses:
            status = server.statuses.pop(0)
            self.send_error(*(status if isinstance(status, tuple) else (status,)))
            return
        start = self._range_start()
        if start is not None and start >= len(server.body):
            self.send_error(416)
            return
        body = server.body[start or 0 :]
        self.send_response(200 if start is None else 206)
        self.send_header("Content-Type", server.content_type)
        if server.etag:
            self.send_header("ETag", server.etag)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        if server.length:
            self.send_header("Content-Length", str(len(body)) if server.length is True else server.length)
        self.end_headers()
        self.wfile.write(body[: server.cut_after.pop(0)] if server.cut_after else body)

    def _range_start(self) -> int | None:
        asked = self.headers.get("Range")
        if not asked or not self.server.ranges or self.headers.get("If-Range") != self.server.etag:
            return None
        return int(asked.removeprefix("bytes=").removesuffix("-"))


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def get(server: Server, tmp_path: Path):
    """Download from the server through a catalogue of one set; notices are kept in ``get.notices``."""

    def call(
        name: str = "toy",
        sha256: str | None = "right",
        *,
        file: str = "set.bin",
        archive: bool = False,
        train: str | None = None,
        attempts: int = 3,
        **rest: object,
    ) -> Fetched:
        digest = hashlib.sha256(server.body).hexdigest() if sha256 == "right" else sha256
        entry = {
            "description": "a toy",
            "homepage": "http://example.org/",
            "format": "xc",
            "train": train or file,
            "files": [{"url": server.url, "name": file, "sha256": digest, "extract": archive}],
        }
        (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump({"toy": entry, "toy-large": entry}))
        return fetch(
            name,
            tmp_path / "data",
            catalogue=tmp_path / "catalogue.yaml",
            notice=call.notices.append,
            attempts=attempts,
            pause_s=0.01,
            timeout_s=5,
            **rest,
        )

    call.notices = []
    return call


def test_a_file_is_downloaded_checked_and_not_downloaded_again(get, server, tmp_path):
    """The bytes arrive, nothing else stays, and a second call asks the server for nothing."""
    calls: list[tuple[str, int, int]] = []
    fetched = get(progress=lambda *call: calls.append(call))
    assert Path(fetched.train).read_bytes() == BODY
    assert calls[-1] == ("set.bin", len(BODY), len(BODY))
    assert [entry.name for entry in (tmp_path / "data").iterdir()] == ["set.bin"]
    assert get() == fetched
    assert len(server.requests) == 1
    assert get.notices == []


def test_a_cut_connection_is_resumed_where_it_broke(get, server):
    """After a cut the rest is asked for, of the same version, and the whole is right."""
    server.cut_after = [300_000, 200_000]
    assert Path(get().train).read_bytes() == BODY
    assert [request.get("Range") for request in server.requests] == [None, "bytes=300000-", "bytes=500000-"]
    assert server.requests[1]["If-Range"] == '"v1"'
    assert len(get.notices) == 2
    assert "cut off after 300,000 bytes" in get.notices[0]


def test_what_came_is_kept_for_the_next_call(get, server, tmp_path):
    """When all attempts are used up, the message says how to go on, and a later call goes on."""
    server.cut_after = [100_000, 100_000]
    with pytest.raises(DataError, match=r"200,000 bytes.*2 times; run the same command again to resume"):
        get(attempts=2)
    assert (tmp_path / "data" / "set.bin.part").stat().st_size == 200_000
    assert not (tmp_path / "data" / "set.bin").exists()
    assert Path(get().train).read_bytes() == BODY
    assert server.requests[-1]["Range"] == "bytes=200000-"


def test_a_server_without_ranges_is_asked_again_from_the_start(get, server):
    """Where the server ignores the range, its whole answer replaces the part."""
    server.ranges = False
    server.cut_after = [300_000]
    assert Path(get().train).read_bytes() == BODY
    assert len(server.requests) == 2


def test_a_changed_file_is_not_joined_to_an_old_part(get, server):
    """A part of an older version is replaced, never continued with other bytes."""
    server.cut_after = [300_000]
    with pytest.raises(DataError):
        get(attempts=1)
    server.body, server.etag = BODY[::-1], '"v2"'
    assert Path(get().train).read_bytes() == BODY[::-1]
    assert server.requests[-1]["If-Range"] == '"v1"'


def test_without_a_version_a_part_is_not_continued(get, server):
    """A server that names no version of its file cannot be trusted to continue it."""
    server.etag = None
    server.cut_after = [300_000]
    assert Path(get().train).read_bytes() == BODY
    assert "Range" not in server.requests[1]


def test_a_weak_version_is_not_used(get, server):
    """Weak entity tags do not promise the same bytes (RFC 9110, 8.8.1)."""
    server.etag = 'W/"v1"'
    server.cut_after = [300_000]
    assert Path(get().train).read_bytes() == BODY
    assert "Range" not in server.requests[1]


def test_a_part_longer_than_the_file_is_dropped(get, server, tmp_path):
    """A part the server cannot continue (416) is started again."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "set.bin.part").write_bytes(BODY + b"more")
    (folder / "set.bin.part.json").write_text(json.dumps({"url": server.url, "version": '"v1"'}))
    assert Path(get().train).read_bytes() == BODY


def test_a_part_with_damaged_notes_is_started_again(get, server, tmp_path):
    """Notes that cannot be read make the part worthless, not the command."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "set.bin.part").write_bytes(b"old")
    (folder / "set.bin.part.json").write_text("{")
    assert Path(get().train).read_bytes() == BODY


def test_an_answer_without_a_length_is_taken_as_it_comes(get, server):
    """Without a length progress has no total, and the digest tells whether all came."""
    server.length = False
    calls: list[tuple[str, int, int]] = []
    assert Path(get(progress=lambda *call: calls.append(call)).train).read_bytes() == BODY
    assert calls[-1] == ("set.bin", len(BODY), -1)


def test_a_wrong_checksum_removes_the_download(get, tmp_path):
    """Other bytes than the catalogue's are refused, with both digests, and not kept."""
    with pytest.raises(DataError, match=f"SHA-256 {hashlib.sha256(BODY).hexdigest()}, not the {'0' * 64}"):
        get(sha256="0" * 64)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_damaged_file_on_the_disk_is_downloaded_again(get, server):
    """A file that no longer has its digest is replaced, with a notice."""
    path = Path(get().train)
    path.write_bytes(BODY[:-1])
    assert Path(get().train).read_bytes() == BODY
    assert "downloading it again" in get.notices[0]
    assert len(server.requests) == 2


def test_an_unknown_checksum_is_said_and_noted(get, server, tmp_path):
    """Without a digest in the catalogue there is a clear warning, and the first digest counts later."""
    fetched = get(sha256=None)
    assert "the catalogue knows no checksum" in get.notices[0]
    assert hashlib.sha256(BODY).hexdigest() in get.notices[0]
    assert fetched.sha256 == {"set.bin": hashlib.sha256(BODY).hexdigest()}
    get(sha256=None)
    assert len(server.requests) == 1
    (tmp_path / "data" / "set.bin").unlink()
    server.body, server.etag = b"other", '"v2"'
    with pytest.raises(DataError, match="noted at the first download"):
        get(sha256=None)


def test_an_answer_that_is_a_web_page_is_refused(get, server):
    """A quota or log-in page is not taken for the file."""
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(DataError, match=r"answers with a web page.*with a browser"):
        get(sha256=None)


def test_errors_of_the_server(get, server):
    """A missing file is an error at once; a busy server is asked again."""
    server.statuses = [404]
    with pytest.raises(DataError, match="answers 404"):
        get()
    assert len(server.requests) == 1
    server.statuses = [503, 429]
    assert Path(get().train).read_bytes() == BODY


@pytest.mark.parametrize("said", ["abc", "5, 5", "-5", "9" * 5000])
def test_a_length_that_is_no_number_is_refused(get, server, said):
    """At once, with what was said in one short line; nothing is left in the file's place."""
    server.length = said
    with pytest.raises(DataError, match="answers with a Content-Length of") as refused:
        get()
    assert len(str(refused.value)) < 1000 and len(server.requests) == 1


def test_what_a_server_says_is_shown_short_and_without_control_characters(get, server):
    """In the error, and in the notice of another attempt."""
    server.statuses = [(503, "\x1b[31m" + "x" * 5000), (404, "\x1b]0;owned\x07" + "y" * 5000)]
    with pytest.raises(DataError, match=r"answers 404 \?\]0;owned\?yyy") as refused:
        get()
    for text in (str(refused.value), *get.notices):
        assert text.isprintable() and len(text) < 1000


def test_a_server_that_cannot_be_reached_is_named(get, server):
    """No server at the address: the message has the address and what happened."""
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"download of http://127\.0\.0\.1.*2 times"):
        get(attempts=2)


def test_an_unknown_name_is_answered_with_the_nearest(get):
    """The error names the nearest right name and all known ones."""
    with pytest.raises(UsageError, match=r"no data set 'toi'.*did you mean 'toy'.*Known: toy, toy-large"):
        get("toi")
    with pytest.raises(UsageError, match="did you mean 'amazon-670k'"):
        find_entry("Amazon670k", load_catalogue())


def zipped(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def tarred(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data), kind, "/etc/passwd"
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archives_are_unpacked_once(get, server, tmp_path, pack):
    """Files of a zip or tar lie in the folder, and are unpacked again only if one is missing or cut."""
    server.body = pack(("set/train.txt", TEXT), ("set/readme", b"x"))
    ask = {"file": "set.zip", "archive": True, "train": "set/train.txt"}
    fetched = get(**ask)
    assert Path(fetched.train).read_bytes() == TEXT
    stat = os.stat(fetched.train)
    get(**ask)
    assert os.stat(fetched.train).st_ino == stat.st_ino
    Path(fetched.train).write_bytes(b"")
    assert Path(get(**ask).train).read_bytes() == TEXT
    assert len(server.requests) == 1


def test_an_archive_without_the_expected_file_is_named(get, server):
    """When the publisher changed the archive, the message says which file is missing."""
    server.body = zipped(("other.txt", TEXT))
    with pytest.raises(DataError, match=r"set/train\.txt: is not among the files"):
        get(file="set.zip", archive=True, train="set/train.txt")


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt"])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_names_that_lead_outside_are_refused(tmp_path, pack, name):
    """Not one file of an archive with such a name is written."""
    folder = tmp_path / "in" / "side"
    folder.mkdir(parents=True)
    archive = tmp_path / "a.bin"
    archive.write_bytes(pack(("good.txt", b"x"), (name, b"evil")))
    with pytest.raises(DataError, match="leads outside"):
        extract(archive, folder)
    assert sorted(path.name for path in tmp_path.rglob("*.txt")) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    """An archive holds plain files only."""
    archive = tmp_path / "a.tar"
    archive.write_bytes(tarred(("link", b""), kind=kind, mode="w"))
    with pytest.raises(DataError, match="not a plain file"):
        extract(archive, tmp_path)


def test_a_link_in_a_zip_is_refused(tmp_path):
    """Zip stores links as files with a mode; they are links all the same."""
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        opened.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="not a plain file"):
        extract(archive, tmp_path)


def test_a_link_that_lies_in_the_folder_is_not_followed_outside(tmp_path):
    """A folder's own link to elsewhere does not let members through."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped(("link/file.txt", b"x")))
    with pytest.raises(DataError, match="leads outside"):
        extract(archive, inside)


def test_damaged_archives_are_named(tmp_path):
    """Bytes that are no archive, and archives with wrong bytes inside, are errors of the data."""
    archive = tmp_path / "a.zip"
    archive.write_bytes(b"no archive at all")
    with pytest.raises(DataError, match="neither a zip nor a tar"):
        extract(archive, tmp_path)
    data = bytearray(zipped(("train.txt", BODY[:50_000])))
    data[10_000] ^= 0xFF
    archive.write_bytes(bytes(data))
    with pytest.raises(DataError, match="the archive is damaged"):
        extract(archive, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


def test_an_archive_larger_than_the_disk_is_refused_before_writing(tmp_path, monkeypatch):
    """The room is looked at before anything is unpacked."""
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped(("train.txt", TEXT)))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 3})())
    with pytest.raises(ResourceError, match="unpacks to 19 bytes"):
        extract(archive, tmp_path)
    assert not (tmp_path / "train.txt").exists()


def test_the_catalogue_holds_the_sets_with_configurations():
    """Sets that configs name can be fetched, and each entry is complete."""
    catalogue = load_catalogue()
    assert {"mnist", "amazon-670k", "delicious-200k", "wiki-325k"} <= catalogue.keys()
    for entry in catalogue.values():
        names = {file.name for file in entry.files}
        assert len(names) == len(entry.files)
        assert any(file.extract for file in entry.files) or {entry.train, entry.test} <= names


@pytest.mark.parametrize(
    "text",
    ["- a list", "toy: {description: x}", "toy: [", "toy: {files: []}"],
)
def test_a_wrong_catalogue_is_named(tmp_path, text):
    """A file that is no catalogue is an error of the configuration, with its name."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.yaml: not a catalogue"):
        load_catalogue(path)


def test_catalogue_files_cannot_name_other_folders(tmp_path):
    """A catalogue's file name is a plain name, and its address http(s)."""
    text = (
        "toy: {description: x, homepage: x, format: xc, train: x, "
        "files: [{url: '%s', name: '%s', sha256: null}]}"
    )
    for url, name in (("http://x/", "../x"), ("file:///etc/passwd", "x"), ("http://x/", "a/b")):
        (tmp_path / "c.yaml").write_text(text % (url, name))
        with pytest.raises(ConfigError):
            load_catalogue(tmp_path / "c.yaml")


def test_notes_that_cannot_be_read_are_as_none(get, server, tmp_path):
    """A damaged note file costs the comparison with the first download, not the command."""
    get(sha256=None)
    (tmp_path / "data" / fetching._NOTES).write_text("[1]")
    get(sha256=None)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "noted", [3, {"members": [1]}, {"members": {"\0": 1}}, {"members": {"x" * 5000: 1}}, {"members": 1}]
)
def test_notes_that_say_nonsense_are_as_none(get, server, tmp_path, noted):
    """Whatever others wrote about an archive, it is unpacked."""
    server.body = tarred(("train.txt", TEXT))
    ask = {"file": "set.tgz", "archive": True, "train": "train.txt"}
    get(**ask)
    if isinstance(noted, dict):
        noted["extracted"] = hashlib.sha256(server.body).hexdigest()
    (tmp_path / "data" / fetching._NOTES).write_text(json.dumps({"set.tgz": noted}))
    (tmp_path / "data/train.txt").unlink()
    assert Path(get(**ask).train).read_bytes() == TEXT


def test_notes_that_are_nested_deeply_are_as_none(get, server, tmp_path):
    """Of the folder, and of a part."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/set.bin.part").write_bytes(b"old")
    for name in (fetching._NOTES, "set.bin.part.json"):
        (tmp_path / "data" / name).write_text("[" * 200_000)
    assert Path(get(sha256=None).train).read_bytes() == BODY


def test_two_downloads_of_one_file_do_not_write_into_each_other(get, server, tmp_path):
    """The second is refused before it asks the server, and what the first has stays; so do its notes."""
    (tmp_path / "data").mkdir()
    part = tmp_path / "data/set.bin.part"
    part.write_bytes(b"abc")
    with part.open("r+b") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is downloading it"):
            get()
    assert part.read_bytes() == b"abc" and not server.requests
    assert [path.name for path in part.parent.iterdir()] == [part.name]
    assert Path(get().train).read_bytes() == BODY


def test_a_partial_download_that_is_a_link_is_not_written_through(get, tmp_path):
    """The error says to remove it."""
    (tmp_path / "data").mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "data/set.bin.part").symlink_to(victim)
    with pytest.raises(DataError, match="remove it"):
        get()
    assert victim.read_bytes() == b"mine"


def test_a_download_that_the_disk_does_not_take_is_resumed_later(get, server, tmp_path):
    """A limit of 500 kB ends it with an error that says so; what came stays, and the rest follows."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        with pytest.raises(ResourceError, match=r"cannot be written \(File too large"):
            get()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "data/set.bin.part").stat().st_size > 0
    assert Path(get().train).read_bytes() == BODY and "Range" in server.requests[-1]


def test_a_download_that_never_began_leaves_no_part(get, server, tmp_path):
    """An answer of 404 leaves the folder as it was."""
    server.statuses = [404]
    with pytest.raises(DataError, match="404"):
        get()
    assert not list((tmp_path / "data").iterdir())
