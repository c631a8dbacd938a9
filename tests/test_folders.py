"""Folders that are trusted when they are read back, and names in folders that others can write."""

from __future__ import annotations

import errno
import os
import pwd
import subprocess
import sys
from types import SimpleNamespace

import pytest

from distlsh.errors import UsageError
from distlsh.folders import (
    is_locked,
    locked,
    open_without_links,
    own_folder,
    temporary_beside,
    who_else_reads,
    who_else_writes,
)

NEEDS_ROOT = pytest.mark.usefixtures("root")


def test_an_own_folder_is_made_closed_whatever_the_umask(tmp_path):
    """It and those made above it have mode 0700."""
    before = os.umask(0)
    try:
        made = own_folder(tmp_path / "a/b")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (made, made.parent)] == [0o700, 0o700]
    made.chmod(0o755)  # that others read it is no harm
    assert own_folder(made) == made


@pytest.mark.usefixtures("in_company")
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_folder_that_others_write_is_refused(tmp_path, mode):
    """The error says who, why and what to do."""
    folder = tmp_path / "kernels"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(UsageError, match=r"can be written by .* would be run: set DISTLSH_CACHE .* rm -r"):
        own_folder(folder)


def test_a_users_private_group_is_no_company(tmp_path, monkeypatch):
    """Systems whose umask is 002 give each user a group of their own; one with other members is company."""
    user, groups = pwd.getpwuid(os.geteuid()), []
    monkeypatch.setattr("grp.getgrgid", lambda gid: groups[-1])
    tmp_path.chmod(0o775)
    groups.append(SimpleNamespace(gr_gid=user.pw_gid, gr_name=user.pw_name, gr_mem=[]))
    assert who_else_writes(tmp_path) is None
    for changes in ({"gr_mem": ["eve"]}, {"gr_name": "staff"}, {"gr_gid": user.pw_gid + 1}):
        groups.append(SimpleNamespace(**{**vars(groups[0]), **changes}))
        assert "can be written by the group" in who_else_writes(tmp_path)


def test_a_folder_that_others_can_replace_is_refused(tmp_path):
    """Where all may rename in the folder above, what is below is nobody's own; the sticky bit mends it."""
    folder = tmp_path / "kernels"
    folder.mkdir(mode=0o700)
    tmp_path.chmod(0o777)
    with pytest.raises(UsageError, match="put another in its place"):
        own_folder(folder)
    tmp_path.chmod(0o1777)
    assert own_folder(folder) == folder


@pytest.mark.usefixtures("in_company")
@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_far_above_that_others_write_is_refused(tmp_path, mode):
    """Who can rename any folder above can put another in this one's place; so can who owns one."""
    folder = own_folder(tmp_path / "a/b/kernels")
    (tmp_path / "a").chmod(mode)
    with pytest.raises(UsageError, match=f"lies in {tmp_path / 'a'}, which can be written by .* chmod go-w"):
        own_folder(folder)
    (tmp_path / "link").symlink_to(folder.parent)
    with pytest.raises(UsageError, match=f"lies in {tmp_path / 'a'}, which"):
        own_folder(tmp_path / "link/kernels")
    (tmp_path / "a").chmod(0o755)
    assert own_folder(folder) == folder


@NEEDS_ROOT
def test_a_folder_in_another_users_is_refused(tmp_path):
    """Though its own mode and owner are right; the sticky bit of a stranger's folder mends nothing."""
    folder = own_folder(tmp_path / "a/b/kernels")
    os.chown(tmp_path / "a", 65534, 65534)
    for mode in (0o700, 0o1777):
        (tmp_path / "a").chmod(mode)
        with pytest.raises(UsageError, match="which belongs to user 65534"):
            own_folder(folder)


@NEEDS_ROOT
def test_another_users_folder_is_refused(tmp_path):
    """Whatever its mode."""
    folder = tmp_path / "kernels"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    assert who_else_writes(folder) == "belongs to user 65534" == who_else_reads(folder)
    with pytest.raises(UsageError, match="belongs to user 65534"):
        own_folder(folder)


def test_kernels_are_not_loaded_from_a_folder_that_others_write(tmp_path):
    """Importing any kernel stops before numba reads a file there; the command says what to do, exit 2."""
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels").chmod(0o777)
    environment = {**os.environ, "DISTLSH_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "distlsh.cli.launch", "--dry-run", "--workers", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "DISTLSH_CACHE" in done.stderr and "Traceback" not in done.stderr
    assert not list((tmp_path / "kernels").iterdir())


def test_a_temporary_name_cannot_be_foreseen(tmp_path):
    """Two for one file differ; both lie beside it, hidden."""
    names = {temporary_beside(tmp_path / "x") for _ in range(2)}
    assert len(names) == 2 and all(path.parent == tmp_path and path.name.startswith(".x.") for path in names)


def test_a_link_is_not_written_through(tmp_path):
    """What it leads to stays as it was."""
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(OSError, match="link"):
        open_without_links(tmp_path / "link", "r+b", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    assert target.read_bytes() == b"mine"


def test_a_lock_that_cannot_be_looked_at_counts_as_held(tmp_path, monkeypatch):
    """Only one that is not there is surely nobody's: without a descriptor to look, an owner may live."""
    lock, link = tmp_path / ".lock", tmp_path / "link"
    link.symlink_to(lock)
    assert not is_locked(lock) and not is_locked(lock / "below") and not is_locked(link)
    with locked(lock) as held:
        assert held and is_locked(lock) and not is_locked(link)
    assert not is_locked(lock)

    def refused(*_):
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("distlsh.folders.os.open", refused)
        assert is_locked(lock)
