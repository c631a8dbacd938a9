"""Key pairs for sockets on the network (CURVE): made, read, and refused where others could use them.

A server's folder of keys holds ``server.key_secret``, ``server.key`` (for its clients), and the public keys
of those who may connect in ``clients/``.  A client's folder holds its own pair and the server's public key.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.utils import z85

from distlsh.errors import UsageError
from distlsh.files import open_plain
from distlsh.folders import who_else_reads, who_else_replaces, who_else_writes

SERVER = "server"
CLIENTS = "clients"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)
_KEY_CHARACTERS, _KEY_BYTES = 40, 32


@dataclass(frozen=True)
class KeyPair:
    """A public and a secret key, 40 characters each."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"KeyPair({self.public!r})"


@dataclass(frozen=True)
class ClientKeys:
    """What a client needs: its own pair, and the public key of the server that it trusts."""

    pair: KeyPair
    server: bytes


def new_pair() -> KeyPair:
    """Return a new pair that is in no file."""
    require_curve()
    public, secret = zmq.curve_keypair()
    return KeyPair(public, secret)


def require_curve() -> None:
    """Raise UsageError where this pyzmq cannot encrypt."""
    if not zmq.has("curve"):
        raise UsageError(
            "this pyzmq was built without CURVE, which tcp:// needs: pip install --force-reinstall pyzmq"
        )


def write_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a new pair to ``NAME.key`` (public, 0644) and ``NAME.key_secret`` (0600); return both paths.

    UsageError where one of them is there already (nothing is ever overwritten), where others could change
    them, or they cannot be written.
    """
    require_curve()
    _check_name(name)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _refuse_others(folder, could="put keys of theirs there")
        return _write_pair(folder, name)
    except OSError as error:
        raise UsageError(
            f"{folder}: keys cannot be written ({error.strerror}: {error.filename}); choose another"
        ) from error


def _write_pair(folder: Path, name: str) -> tuple[Path, Path]:
    from zmq.auth import create_certificates

    public, secret = folder / f"{name}.key", folder / f"{name}.key_secret"
    for path in (public, secret):
        if os.path.lexists(path):
            raise UsageError(
                f"{path} is there already; give another --name, or remove both files of the pair"
            )
    if name == SERVER:
        (folder / CLIENTS).mkdir(mode=0o700, exist_ok=True)
    # In a folder of mode 0700 first: the secret is never readable by others, not for a moment.
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as new:
        made = create_certificates(new, name)
        for file, path, mode in zip(made, (public, secret), (0o644, 0o600), strict=True):
            os.chmod(file, mode)
            os.link(file, path)
    return public, secret


def read_pair(folder: Path, name: str) -> KeyPair:
    """Return the pair ``name`` of ``folder``; UsageError if it is missing, damaged, or others can read it."""
    _check_name(name)
    path = folder / f"{name}.key_secret"
    public, secret = _read(path, f"make it with: distlsh keygen {folder} --name {name}")
    why = who_else_reads(path)
    if why is not None:
        raise UsageError(f"{path} {why}, so others may know this secret key; make a new pair, mode 0600")
    if secret is None:
        raise UsageError(f"{path}: holds no secret key; make a new pair with: distlsh keygen")
    return KeyPair(public, secret)


def own_name(folder: Path) -> str:
    """Return the name of the only pair in ``folder``; UsageError if there is none, or several."""
    names = sorted(path.stem for path in folder.glob("*.key_secret"))
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise UsageError(
            f"{folder}: expected one secret key, found {found}; "
            f"name yours with --name, or make one with: distlsh keygen {folder} --name me"
        )
    return names[0]


def read_public(path: Path) -> bytes:
    """Return the public key in the file ``path``; UsageError if there is none, or others could change it."""
    public, _ = _read(path, "copy it from who made it: the .key file, never the .key_secret")
    _refuse_others(path.parent, path, could="put a key of theirs there")
    return public


def known_keys(folder: Path) -> frozenset[bytes]:
    """Return the public keys in ``folder``; UsageError where others could add theirs, or a file is no key."""
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: no such folder; make it, and copy the public keys of those who may connect there"
        )
    files = sorted(folder.glob("*.key"))
    _refuse_others(folder, *files, could="let others in")
    return frozenset(read_public(path) for path in files)


def _refuse_others(*paths: Path, could: str) -> None:
    for path in paths:
        try:
            why, above = who_else_writes(path), who_else_replaces(path)
        except OSError as error:
            raise UsageError(f"{path}: cannot be looked at ({error.strerror}); remove it") from error
        if why is not None:
            raise UsageError(f"{path} {why}, who could {could}; give it to yourself alone: chmod go-w {path}")
        if above is not None:
            raise UsageError(f"{path} {above}, and so {could}; choose a folder where that is not so")


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"{name!r} cannot be the name of a key; allowed: letters, digits, '.', '_' and '-', at most 64"
        )


def _is_key(text: bytes) -> bool:
    try:
        return len(text) == _KEY_CHARACTERS and len(z85.decode(text)) == _KEY_BYTES
    except (KeyError, ValueError, struct.error):  # characters, or numbers, that Z85 does not have
        return False


def _read(path: Path, advice: str) -> tuple[bytes, bytes | None]:
    from zmq.auth import load_certificate

    try:
        with open_plain(path):  # it would wait for a pipe
            pass
        public, secret = load_certificate(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as a key ({error}); {advice}") from error
    for key in (public, secret):
        if key is not None and not _is_key(key):
            raise UsageError(f"{path}: damaged, a key has {_KEY_CHARACTERS} characters of Z85; {advice}")
    return public, secret
