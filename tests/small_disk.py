"""A real disk that is small: a tmpfs of its own, which only root can mount."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.needs import needs


@contextlib.contextmanager
def small_disk(place: Path, n_bytes: int) -> Iterator[Path]:
    """Mount a disk of ``n_bytes`` on the new folder ``place``; `needs` says what happens where it may not."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "distlsh-test", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    needs(mounted, "to mount a small disk: as root, and not in every container")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, leave: int = 0) -> Path:
    """Fill the disk but for ``leave`` bytes; return the file to remove."""
    file = place / "filler"
    with file.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while True:
            out.write(bytes(1 << 16))
    os.truncate(file, max(0, file.stat().st_size - leave))
    return file
