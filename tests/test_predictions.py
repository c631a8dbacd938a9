"""Files of predictions, beside which others may have put things."""

from __future__ import annotations

import gzip
import os

import pytest

from distlsh.predictions import _replacing


@pytest.mark.parametrize("name", ["out.txt", "out.txt.gz"])
def test_a_link_with_a_name_that_can_be_foreseen_is_not_written_through(tmp_path, name):
    """The file takes its place, what the link leads to stays as it was, and nothing else is left."""
    victim, link = tmp_path / "victim", tmp_path / f".{name}.tmp-{os.getpid()}"
    victim.write_text("mine")
    link.symlink_to(victim)
    with _replacing(tmp_path / name) as file:
        file.write("1:2\n")
    data = (tmp_path / name).read_bytes()
    assert (gzip.decompress(data) if name.endswith(".gz") else data) == b"1:2\n"
    assert victim.read_text() == "mine" and link.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {name, "victim", link.name}
