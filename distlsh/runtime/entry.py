"""Where children begin; light to import, since the coordinator names these functions."""

from __future__ import annotations


def worker_main(packed: bytes) -> None:
    """Run a worker, described by the packed `ChildSetup`."""
    from distlsh.runtime.worker import main

    main(packed)


def rehasher_main(packed: bytes) -> None:
    """Run the rehasher, described by the packed `ChildSetup`."""
    from distlsh.runtime.rehasher import main

    main(packed)
