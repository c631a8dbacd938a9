"""Another user of the host, who tries everything on a run: started as root, it gives that up first.

    python other_user.py '{"pids": [...], "sockets": DIR, "segments": [...], "secrets": [...], ...}'

Prints what each attempt came to, as JSON: the name of the error that stopped it, or null.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import shutil
import signal
import socket
import sys
from pathlib import Path

NOBODY = 65534
_PTRACE_ATTACH = 16
_libc = ctypes.CDLL(None, use_errno=True)


def become_nobody():
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.umask(0)
    assert os.geteuid() == NOBODY


def connect(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(str(path))


def map_it(path):
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 4096) as found:
        found[:8] = b"\xff" * 8


def lock(path, flags=os.O_RDONLY):
    descriptor = os.open(path, flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def trace(pid):
    if _libc.ptrace(_PTRACE_ATTACH, pid, 0, 0):
        raise PermissionError(ctypes.get_errno(), "ptrace")


def attempts(goal):
    """Yield (what, action) of everything that must be refused."""
    folder = Path(goal["sockets"])
    yield "list the sockets", lambda: os.listdir(folder)
    yield "add to the sockets", lambda: (folder / "mine").touch()
    yield "move the sockets", lambda: os.rename(folder, f"{folder}-moved")
    yield "remove the sockets", lambda: shutil.rmtree(folder)
    yield "open the sockets to all", lambda: os.chmod(folder, 0o777)
    yield "lock the sockets", lambda: lock(folder)
    for name in goal["socket_names"]:
        yield f"connect to {name}", lambda name=name: connect(folder / name)
        yield f"remove {name}", lambda name=name: os.unlink(folder / name)
    for path in goal["segments"]:
        yield f"read {path}", lambda path=path: open(path, "rb").close()
        yield f"write {path}", lambda path=path: map_it(path)
        yield f"cut {path}", lambda path=path: os.truncate(path, 0)
        yield f"remove {path}", lambda path=path: os.unlink(path)
        yield f"move {path}", lambda path=path: os.rename(path, f"{path}-moved")
        yield f"open {path} to all", lambda path=path: os.chmod(path, 0o666)
        yield f"lock {path}", lambda path=path: lock(path)
    for path in goal["secrets"]:
        yield f"read {path}", lambda path=path: open(path, "rb").close()
        yield f"write {path}", lambda path=path: open(path, "ab").close()
        yield f"remove {path}", lambda path=path: os.unlink(path)
    for path in goal["folders"]:
        yield f"add to {path}", lambda path=path: (Path(path) / "mine").touch()
    for path in goal["locks"]:
        yield f"lock {path}", lambda path=path: lock(path)
    for pid in goal["pids"]:
        for number in (0, signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):
            yield f"signal {pid} {number}", lambda pid=pid, number=number: os.kill(pid, number)
        for name in ("mem", "environ", "maps"):
            yield (
                f"read /proc/{pid}/{name}",
                lambda pid=pid, name=name: Path(f"/proc/{pid}/{name}").read_bytes(),
            )
        yield f"list /proc/{pid}/fd", lambda pid=pid: os.listdir(f"/proc/{pid}/fd")
        yield f"trace {pid}", lambda pid=pid: trace(pid)


def plant(goal):
    """Put things in the way whose names look like leftovers, or like the run's own."""
    for path in goal["plant_folders"]:
        Path(path).mkdir(mode=0o777)
        (Path(path) / "link").symlink_to(goal["victim"])
    for path in goal["plant_links"]:
        Path(path).symlink_to(goal["victim"])
    for path in goal["plant_files"]:
        Path(path).write_bytes(bytes(64))


def main():
    goal = json.loads(sys.argv[1])
    become_nobody()
    found = {}
    for what, action in attempts(goal):
        try:
            action()
        except OSError as error:
            found[what] = type(error).__name__
        else:
            found[what] = None
    plant(goal)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
