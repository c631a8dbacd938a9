"""What is read of a manifest that someone else wrote, its checksum right."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from distlsh._version import __version__
from distlsh.errors import CheckpointError
from distlsh.model import manifest
from distlsh.model.checkpoint import latest_checkpoint, read_checkpoint, write_checkpoint
from distlsh.model.manifest import MANIFEST, read_manifest, write_manifest
from distlsh.runtime.limits import _MOST_CHUNKS


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoints", "s1", {"x": np.arange(4)}, {"a": 1}, keep=9)


def content(path: Path) -> dict:
    return json.loads((path / MANIFEST).read_text())["content"]


def put(path: Path, text: str) -> None:
    (path / MANIFEST).write_text(f'{{"crc32": {zlib.crc32(text.encode())}, "content":\n{text}\n}}\n')


def changed(path: Path, change) -> None:
    whole = content(path)
    change(whole)
    put(path, json.dumps(whole, indent=1))


CHANGES = {
    "a file elsewhere": lambda c: c["arrays"]["x"].update(file="../../../secret.npy"),
    "another array's file": lambda c: c["arrays"]["x"].update(file="y.npy"),
    "a name that is a path": lambda c: c["arrays"].update({"../x": {**c["arrays"]["x"], "file": "../x.npy"}}),
    "a negative size": lambda c: c["arrays"]["x"].update(n_bytes=-1),
    "no arrays": lambda c: c.pop("arrays"),
    "arrays that are a list": lambda c: c.update(arrays=[]),
    "no sequence": lambda c: c.pop("sequence"),
    "a sequence of text": lambda c: c.update(sequence="last"),
    "no version": lambda c: c.pop("version"),
    "a version of text": lambda c: c.update(version="1"),
    "a state of text": lambda c: c.update(state="all well"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_manifest_that_describes_no_checkpoint_is_an_error_that_names_it(saved: Path, change) -> None:
    """Whatever its JSON says, nothing outside of the folder is touched, and one error comes."""
    changed(saved, change)
    with pytest.raises(CheckpointError, match=r"manifest\.json.*does not describe"):
        read_checkpoint(saved)


@pytest.mark.parametrize("text", ["", "[]", "1", "null", "{", '{"a": ' * 5000 + "1" + "}" * 5000, "\x00"])
def test_what_is_no_json_object_is_an_error_that_names_it(saved: Path, text: str) -> None:
    """Also where it is nested deeper than any parser goes."""
    put(saved, text)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        read_checkpoint(saved)


def test_another_form_of_array_than_the_manifest_says_is_refused(saved: Path) -> None:
    """The right number of bytes with another dtype is not what was saved."""
    changed(saved, lambda c: c["arrays"]["x"].update(dtype="<f8"))
    with pytest.raises(CheckpointError, match="header"):
        read_checkpoint(saved)


@pytest.mark.parametrize("version, words", [(2, "upgrade distlsh to 9.9.*"), (0, "use an older distlsh")])
def test_another_version_says_both_and_what_to_do(
    saved: Path, monkeypatch: pytest.MonkeyPatch, version: int, words: str
) -> None:
    """The format and program that wrote it, those that read it; an older checkpoint is not taken instead."""
    with monkeypatch.context() as patches:
        patches.setattr(manifest, "CHECKPOINT_VERSION", version)
        patches.setattr(manifest, "__version__", "9.9")
        other = write_checkpoint(saved.parent, "s2", {"x": np.arange(4)}, {}, keep=9)
    both = (
        rf"format {version}, written by distlsh 9\.9; this is distlsh {__version__}, which reads format 1: "
    )
    for what in (saved.parent.parent, other):
        with pytest.raises(CheckpointError, match=both + words):
            latest_checkpoint(what)
    assert latest_checkpoint(saved).path == saved, "named, the older one is taken"


def test_a_run_can_be_saved_beside_a_checkpoint_of_another_version(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither removed nor in the way."""
    with monkeypatch.context() as patches:
        patches.setattr(manifest, "CHECKPOINT_VERSION", 2)
        write_checkpoint(saved.parent, "s2", {"x": np.arange(4)}, {}, keep=9)
    write_checkpoint(saved.parent, "s3", {"x": np.arange(4)}, {}, keep=1)
    assert sorted(path.name for path in saved.parent.iterdir()) == ["s2", "s3"]


@pytest.mark.parametrize("name", [MANIFEST, "x.npy"])
def test_a_pipe_in_a_checkpoint_is_damage_and_nothing_to_wait_for(saved: Path, name: str) -> None:
    """As it may come out of an archive: the older checkpoint is used, with a warning."""
    newer = write_checkpoint(saved.parent, "s2", {"x": np.arange(4)}, {}, keep=9)
    (newer / name).unlink()
    os.mkfifo(newer / name)
    found = latest_checkpoint(saved.parent)
    assert found.path == saved and "s2" in found.warnings[0]


def test_as_many_chunks_as_a_run_may_have_are_listed(tmp_path: Path) -> None:
    """Of ten billion instances."""
    chunks = [[10**10 - 2, 10**10 - 1]] * _MOST_CHUNKS
    write_manifest(tmp_path, 1, {}, {"position": {"chunks": chunks}})
    assert read_manifest(tmp_path).state["position"]["chunks"] == chunks


def test_a_manifest_that_could_not_be_read_back_is_not_written(tmp_path: Path, monkeypatch) -> None:
    """The save fails, and what was there before stays."""
    monkeypatch.setattr(manifest, "_LARGEST_BYTES", 1000)
    first = write_checkpoint(tmp_path / "checkpoints", "s1", {}, {"a": "x" * 500}, keep=1)
    with pytest.raises(CheckpointError, match=r"a manifest of 1,\d+ bytes, 1,000 at most"):
        write_checkpoint(tmp_path / "checkpoints", "s2", {}, {"a": "x" * 1000}, keep=1)
    assert latest_checkpoint(tmp_path).path == first
