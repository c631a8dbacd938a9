"""Files of keys: made once, read by their owner, refused where others could use or add them."""

from __future__ import annotations

import os
import shutil

import pytest
import zmq

from distlsh.errors import UsageError
from distlsh.transport.keys import (
    CLIENTS,
    KeyPair,
    known_keys,
    new_pair,
    own_name,
    read_pair,
    read_public,
    write_pair,
)


def test_a_pair_is_read_as_it_was_written(tmp_path):
    """Secret 0600, public 0644 whatever the umask; both files hold the same public key; it is a pair."""
    before = os.umask(0)
    try:
        public, secret = write_pair(tmp_path / "keys", "me")
    finally:
        os.umask(before)
    assert (public.stat().st_mode & 0o777, secret.stat().st_mode & 0o777) == (0o644, 0o600)
    pair = read_pair(tmp_path / "keys", "me")
    assert read_public(public) == pair.public == zmq.curve_public(pair.secret)
    assert pair.secret not in public.read_bytes()
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["me.key", "me.key_secret"]


def test_a_servers_folder_has_a_place_for_clients(tmp_path):
    """`server` comes with an empty folder of known keys, its owner's alone."""
    write_pair(tmp_path, "server")
    assert (tmp_path / CLIENTS).stat().st_mode & 0o777 == 0o700
    assert known_keys(tmp_path / CLIENTS) == frozenset()


@pytest.mark.parametrize("there", ["me.key", "me.key_secret"])
def test_keys_are_never_overwritten(tmp_path, there):
    """Where either file is there, neither is touched; a link that leads nowhere counts as there."""
    (tmp_path / there).symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is there already"):
        write_pair(tmp_path, "me")
    assert [path.name for path in tmp_path.iterdir()] == [there]


@pytest.mark.parametrize("name", ["", ".hidden", "../me", "a/b", "x" * 65, "a b", "me\n"])
def test_a_keys_name_cannot_lead_elsewhere(tmp_path, name):
    """Names with slashes, leading dots, spaces or line ends are refused."""
    for use in (write_pair, read_pair):
        with pytest.raises(UsageError, match="cannot be the name of a key"):
            use(tmp_path, name)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_can_read_is_refused(tmp_path, mode):
    """The error names the file and its mode."""
    _, secret = write_pair(tmp_path, "me")
    secret.chmod(mode)
    with pytest.raises(UsageError, match=rf"me\.key_secret has mode {mode:04o}"):
        read_pair(tmp_path, "me")


def test_a_secret_that_is_missing_or_no_key_says_what_to_do(tmp_path):
    """No file, an empty one, a public key in its place, half a key: each is a UsageError."""
    with pytest.raises(UsageError, match="distlsh keygen"):
        read_pair(tmp_path, "me")
    public, secret = write_pair(tmp_path, "me")
    for text in ("", public.read_text(), 'public-key = "short"\nsecret-key = "short"\n', "\udcff"):
        secret.write_text(text, errors="surrogateescape")
        with pytest.raises(UsageError, match=r"me\.key_secret"):
            read_pair(tmp_path, "me")


def test_known_keys_are_those_of_the_folder(tmp_path):
    """Every .key file's public key, nothing else."""
    write_pair(tmp_path / "a", "alice")
    write_pair(tmp_path / "b", "bob")
    clients = tmp_path / CLIENTS
    clients.mkdir(mode=0o700)
    for name in ("a/alice.key", "b/bob.key"):
        shutil.copy(tmp_path / name, clients)
    (clients / "notes.txt").write_text("x")
    found = known_keys(clients)
    assert found == {read_pair(tmp_path / "a", "alice").public, read_pair(tmp_path / "b", "bob").public}


@pytest.mark.usefixtures("in_company")
def test_a_folder_where_others_could_add_keys_is_refused(tmp_path):
    """So is a known key that others could replace."""
    clients = tmp_path / CLIENTS
    clients.mkdir()
    for mode in (0o777, 0o770):
        clients.chmod(mode)
        with pytest.raises(UsageError, match="chmod go-w"):
            known_keys(clients)
    clients.chmod(0o700)
    public, _ = write_pair(clients, "me")
    public.chmod(0o666)
    with pytest.raises(UsageError, match="could let others in"):
        known_keys(clients)
    with pytest.raises(UsageError, match="no such folder"):
        known_keys(tmp_path / "missing")


def test_the_only_pair_of_a_folder_needs_no_name(tmp_path):
    """None or two are refused with how to name or make one."""
    with pytest.raises(UsageError, match="found none"):
        own_name(tmp_path)
    write_pair(tmp_path, "me")
    assert own_name(tmp_path) == "me"
    write_pair(tmp_path, "you")
    with pytest.raises(UsageError, match="found me, you"):
        own_name(tmp_path)


def test_a_secret_is_not_shown():
    """A pair in a log or traceback shows its public key alone."""
    pair = new_pair()
    assert isinstance(pair, KeyPair) and pair.secret.decode() not in repr(pair)


def test_a_known_key_that_is_gone_is_an_error_of_the_folder(tmp_path):
    """A link that leads nowhere, at the start; a key that goes as it is looked at."""
    write_pair(tmp_path, "server")
    (tmp_path / CLIENTS / "x.key").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"x\.key: cannot be looked at"):
        known_keys(tmp_path / CLIENTS)


@pytest.mark.parametrize("key", ["~" * 40, "#" * 40, "\u00e9" * 20, "a" * 39])
def test_what_is_not_in_the_alphabet_of_keys_is_no_key(tmp_path, key):
    """40 bytes that libzmq would refuse later are refused here, with the file's name."""
    path = tmp_path / "server.key"
    path.write_text(f'metadata\ncurve\n    public-key = "{key}"\n')
    with pytest.raises(UsageError, match=r"server\.key: damaged"):
        read_public(path)


@pytest.mark.usefixtures("in_company")
@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_servers_key_that_others_could_replace_is_not_trusted(tmp_path, mode):
    """Nor are keys written or read where others can put theirs."""
    public, _ = write_pair(tmp_path / "keys", "server")
    public.chmod(mode)
    with pytest.raises(UsageError, match="could put a key of theirs there"):
        read_public(public)
    public.chmod(0o644)
    public.parent.chmod(mode)
    with pytest.raises(UsageError, match="could put a key of theirs there"):
        read_public(public)
    with pytest.raises(UsageError, match="could put keys of theirs there"):
        write_pair(tmp_path / "keys", "me")


@pytest.mark.usefixtures("in_company")
def test_keys_below_a_folder_that_others_write_are_not_trusted(tmp_path):
    """They could put another folder in its place, however far above; with the sticky bit they cannot."""
    keys = tmp_path / "shared" / "mine" / "keys"
    public, _ = write_pair(keys, "server")
    (tmp_path / "shared").chmod(0o777)
    for use in (
        lambda: write_pair(keys, "me"),
        lambda: read_public(public),
        lambda: known_keys(keys / CLIENTS),
    ):
        with pytest.raises(UsageError, match=f"lies in {tmp_path / 'shared'}, which can be written by all"):
            use()
    (tmp_path / "shared").chmod(0o1777)
    assert known_keys(keys / CLIENTS) == frozenset()


def test_keys_that_cannot_be_written_say_where(tmp_path):
    """A file in the folder's place, and a folder below a file."""
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(UsageError, match="keys cannot be written"):
            write_pair(folder, "me")
