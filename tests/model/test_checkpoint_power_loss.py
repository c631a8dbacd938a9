"""Power fails in a save: whatever the disk kept of what was not synced, a whole checkpoint is found.

The file operations of a save are recorded.  Each beginning of them is then replayed on a disk that
keeps of a file what was there at its last fsync, or any beginning of it, or zeros, and of the entries
of a folder those of its last fsync and any choice of the later ones.
"""

from __future__ import annotations

import os
import random
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from distlsh.model import array_files, manifest
from distlsh.model.checkpoint import latest_checkpoint, read_checkpoint, write_checkpoint

ARRAYS = ("output.weights", "output.state1", "output.dirty")
DRAWS = 3
"""Disks for each moment, after one that kept nothing unsynced and one that kept everything."""


@dataclass
class File:
    """``content`` is what was written in the end, ``synced`` what the disk must have."""

    content: bytes = b""
    synced: bytes | None = None

    def left(self, draw: random.Random | None, everything: bool) -> bytes:
        if self.synced is not None:
            return self.synced
        if draw is None:
            return self.content if everything else b""
        size = draw.randrange(len(self.content) + 1)
        return draw.choice([self.content[:size], bytes(len(self.content)), b""])


@dataclass
class Folder:
    """``synced`` entries, and changes since: each sets some names to what they are, None for nothing."""

    synced: dict[str, File | Folder] = field(default_factory=dict)
    changes: list[dict[str, File | Folder | None]] = field(default_factory=list)

    def entries(self, choose=lambda change: True) -> dict[str, File | Folder]:
        found: dict[str, File | Folder | None] = dict(self.synced)
        for change in self.changes:
            if choose(change):
                found.update(change)
        return {name: one for name, one in found.items() if one is not None}


class Disk:
    """What the operations make of the folders below ``root``, synced or not."""

    def __init__(self, root: Path) -> None:
        self.root, self.top = root, Folder()

    def folder(self, path: Path) -> Folder:
        found = self.top
        for part in path.relative_to(self.root).parts:
            found = found.entries()[part]
        return found

    def do(self, operation: tuple) -> None:
        kind, path, *rest = operation
        if path == self.root:
            if kind == "sync":
                self.top.synced, self.top.changes = self.top.entries(), []
            return
        parent, name = self.folder(path.parent), path.name
        match kind:
            case "mkdir":
                parent.changes.append({name: Folder()})
            case "create":
                parent.changes.append({name: File(content=rest[0])})
            case "remove":
                parent.changes.append({name: None})
            case "rename":
                parent.changes.append({name: None, rest[0].name: parent.entries()[name]})
            case "sync":
                one = parent.entries()[name]
                if isinstance(one, Folder):
                    one.synced, one.changes = one.entries(), []
                else:
                    one.synced = rest[0]

    def after_power_loss(self, place: Path, draw: random.Random | None, everything: bool) -> None:
        """Write what may be left to ``place``."""

        def put(folder: Folder, path: Path) -> None:
            path.mkdir()
            kept = (lambda _: everything) if draw is None else (lambda _: draw.random() < 0.5)
            for name, one in folder.entries(kept).items():
                if isinstance(one, Folder):
                    put(one, path / name)
                else:
                    (path / name).write_bytes(one.left(draw, everything))

        put(self.top, place)


class Recorder:
    """Notes every operation below a folder; a created file's content is filled in at the end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.root, self.operations, self._lock = root, [], threading.Lock()
        os_open = os.open
        for name in ("mkdir", "unlink", "rmdir"):
            self._wrap(monkeypatch, name, "mkdir" if name == "mkdir" else "remove")
        rename = os.rename

        def renamed(a, b):
            rename(a, b)
            self.note("rename", Path(a), Path(b))

        monkeypatch.setattr(os, "rename", renamed)
        for name in ("fsync", "fdatasync"):
            self._wrap_sync(monkeypatch, getattr(os, name), name)

        def opened(path, mode="r", **options):
            if "w" in mode:
                self.note("create", Path(path), b"")
            return open(path, mode, **options)

        monkeypatch.setattr(array_files, "open", opened, raising=False)
        monkeypatch.setattr(manifest, "open", opened, raising=False)
        assert os_open is os.open

    def note(self, *operation) -> None:
        if self.root in (operation[1], *operation[1].parents):
            with self._lock:
                self.operations.append(operation)

    def _wrap(self, monkeypatch, name: str, kind: str) -> None:
        original = getattr(os, name)

        def wrapped(path, *rest, dir_fd=None, **options):
            original(path, *rest, dir_fd=dir_fd, **options)
            below = Path(os.readlink(f"/proc/self/fd/{dir_fd}")) if dir_fd is not None else Path()
            self.note(kind, below / path)

        monkeypatch.setattr(os, name, wrapped)

    def _wrap_sync(self, monkeypatch, original, name: str) -> None:
        def synced(descriptor):
            original(descriptor)
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            self.note("sync", path, path.read_bytes() if path.is_file() else None)

        monkeypatch.setattr(os, name, synced)

    def with_contents(self) -> list[tuple]:
        """Return the operations; each file is created with what it held at its last sync."""
        last = {operation[1]: operation[2] for operation in self.operations if operation[0] == "sync"}
        return [
            (*one[:2], last.get(one[1]) or b"?" * 99) if one[0] == "create" else one
            for one in self.operations
        ]


def save(folder: Path, number: int) -> None:
    arrays = {name: np.full(50, number, np.uint8) for name in ARRAYS}
    write_checkpoint(folder, f"s{number}", arrays, {"number": number}, keep=1, live=True)


@pytest.fixture
def recorded(tmp_path, monkeypatch) -> tuple[Path, list[tuple], int]:
    """Two saves' operations, and where the second began."""
    root = tmp_path / "run"
    folder = root / "checkpoints"
    folder.mkdir(parents=True)
    with monkeypatch.context() as patches:
        recorder = Recorder(patches, folder)
        save(folder, 1)
        first = len(recorder.operations)
        save(folder, 2)
    return folder, recorder.with_contents(), first


def number_found(place: Path) -> int:
    """Return which save is found; it must be whole."""
    read, state = read_checkpoint(latest_checkpoint(place).path)
    for name in ARRAYS:
        assert (read[name] == state["number"]).all() and read[name].shape == (50,)
    return int(state["number"])


def disks(folder: Path, operations: list[tuple], at: int, place: Path):
    """Yield what disks may hold when power fails after ``at`` operations."""
    draws = [(None, False), (None, True), *((random.Random(f"{at}/{i}"), False) for i in range(DRAWS))]
    for i, (draw, everything) in enumerate(draws):
        disk = Disk(folder)
        for operation in operations[:at]:
            disk.do(operation)
        here = place / f"{at}-{i}"
        disk.after_power_loss(here, draw, everything)
        yield here


def test_whenever_power_fails_a_whole_checkpoint_is_found(recorded, in_memory) -> None:
    """From the first save's end on there is always one; the newer where its save had ended."""
    folder, operations, first = recorded
    found = {
        at: {number_found(one) for one in disks(folder, operations, at, in_memory)}
        for at in range(first, len(operations) + 1)
    }
    assert found[first] == {1} and found[len(operations)] == {2}
    assert {1, 2} in found.values(), "in between it is chance which one the disk kept"
    assert len(found) > 15


@pytest.mark.parametrize("left_out", ["files", "folder", "place"])
def test_each_sync_is_needed(recorded, in_memory, left_out: str) -> None:
    """Without the syncs of the files, of the folder or of the place that it lies in, a save may be lost."""
    folder, operations, _ = recorded
    needless = {
        "files": lambda path: path.parent != folder and path != folder,
        "folder": lambda path: path.parent == folder,
        "place": lambda path: path == folder,
    }[left_out]
    kept = [one for one in operations if not (one[0] == "sync" and needless(one[1]))]
    lost = 0
    for one in disks(folder, kept, len(kept), in_memory):
        try:
            lost += number_found(one) != 2
        except Exception:
            lost += 1
    assert lost
