"""The disk cache of kernels: what a module's compiled code depends on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from numba.core import config

import distlsh.kernels
from distlsh.folders import cache_root
from distlsh.kernels._jit import cache_dir, source_digest, sources

FOLDER = Path(distlsh.kernels.__file__).parent


def test_a_module_depends_on_the_kernels_it_imports_directly_or_not() -> None:
    """Through rotation, cross_polytope is compiled from lanes too; the parser is none of its business."""
    found = {path.stem for path in sources(FOLDER / "cross_polytope.py")}
    assert {"cross_polytope", "rotation", "lanes", "probing", "_jit"} <= found
    assert "parse" not in found


def test_modules_have_digests_of_their_own() -> None:
    """Two modules never share a folder of compiled code."""
    assert source_digest(FOLDER / "rotation.py") != source_digest(FOLDER / "tables.py")


def test_compiled_code_outside_the_kernels_is_followed_too() -> None:
    """The fences of the generations are compiled from kernels.atomics."""
    path = FOLDER.parent / "shm" / "generation.py"
    assert {path, FOLDER / "atomics.py"} <= sources(path)


def test_kernels_import_each_other_in_the_one_form_that_the_digest_sees() -> None:
    """`from distlsh.kernels.NAME import ...` at the start of a line, and no other form."""
    for path in FOLDER.glob("*.py"):
        named = re.findall(r"^.*distlsh\.kernels.*import.*$|^\s*import distlsh.*$", path.read_text(), re.M)
        odd = [line for line in named if not re.match(r"from distlsh\.kernels\.\w+ import", line)]
        assert not odd, f"{path.name}: {odd}"


def test_code_with_checked_bounds_has_a_cache_of_its_own(monkeypatch):
    """A build with NUMBA_BOUNDSCHECK=1 never loads kernels that were compiled without checks."""
    path = FOLDER / "rotation.py"
    folders = set()
    for checked in (None, 0, 1):
        monkeypatch.setattr(config, "BOUNDSCHECK", checked)
        folders.add(cache_dir(path))
    assert len(folders) == 2


@pytest.mark.parametrize(
    "given",
    [
        {"DISTLSH_CACHE": "/a"},
        {"XDG_CACHE_HOME": "/b"},
        {"HOME": "/c"},
        {"DISTLSH_CACHE": "", "XDG_CACHE_HOME": "/d"},
    ],
)
def test_compiled_code_lies_in_the_folder_that_is_looked_at(monkeypatch, given) -> None:
    """Whatever the environment says: the folder whose owner is checked is the one that numba reads."""
    for name in ("DISTLSH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert cache_dir(FOLDER / "tables.py").parent == cache_root() / "kernels"
